//! The operations of a VDI. Each operation of several steps has its plan in the file with its name, with what
//! the next command does if it finds the operation unfinished.

pub mod activate;
mod base;
pub mod claim;
pub mod clone;
pub mod create;
pub(crate) mod data_destroy;
pub mod delete;
mod grown;
pub mod ha;
pub mod import;
pub mod locate;
pub mod measure;
mod plugged;
pub(crate) mod prepared;
pub(crate) mod readers;
mod release;
pub mod reset;
pub mod resize;
pub mod revert;
pub mod snapshot;
pub(crate) mod steps;
mod together;
pub mod tracking;
pub mod unplug;
pub mod update;

use crate::error::{Error, Result};

/// The size of a new disk is a whole multiple of this many bytes, as that of a VHD: tapdisk mirrors a disk to
/// another SR only if both have the same size.
pub const SIZE_UNIT: u64 = 2 << 20;

/// The largest disk in bytes: librbd's object map ends at 256,000,000 objects of 4 MiB.
pub const MAX_SIZE: u64 = 256_000_000 * (4 << 20);

/// Returns the size in bytes of a disk if `requested` bytes are requested: never less.
pub fn disk_size(requested: i128) -> Result<u64> {
    let refused = || Error::BadSize {
        size: requested,
        max: MAX_SIZE,
    };
    let bytes = u64::try_from(requested).map_err(|_| refused())?;
    if bytes == 0 || bytes > MAX_SIZE {
        return Err(refused());
    }
    Ok(bytes.div_ceil(SIZE_UNIT) * SIZE_UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_never_smaller_than_requested() {
        assert_eq!(disk_size(1).unwrap(), SIZE_UNIT);
        assert_eq!(disk_size(5 << 20).unwrap(), 6 << 20);
        assert_eq!(disk_size(1 << 30).unwrap(), 1 << 30);
        assert_eq!(disk_size((1 << 30) + 1).unwrap(), (1 << 30) + SIZE_UNIT);
        assert_eq!(disk_size(64 << 40).unwrap(), 64 << 40);
        assert_eq!(disk_size(i128::from(MAX_SIZE)).unwrap(), MAX_SIZE);
    }

    #[test]
    fn a_size_that_no_disk_can_have_is_refused() {
        for size in [0, -1, i128::from(MAX_SIZE) + 1, 1 << 63, i128::MIN] {
            let error = disk_size(size).unwrap_err();
            assert!(error.to_string().contains(&size.to_string()), "{error}");
        }
    }
}
