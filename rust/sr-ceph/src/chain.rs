//! How long the chain of an image's parents may become, and how many snapshots it may have.

use crate::error::{Error, Result};
use crate::image::Images;
use crate::record::VdiRecord;

/// Parents that an image can have, one behind the other: krbd maps 16. A snapshot is refused
/// before that, so that every snapshot there is can be cloned, and the clone be mapped.
pub const MAX_DEPTH: u32 = 14;

/// Snapshots that an image can have: krbd maps an image with 510.
pub const MAX_SNAPSHOTS: usize = 500;

/// Parents that a disk may have, one behind the other, before it is flattened in the background:
/// each costs a look when a block is read that none of them has.
pub const SOFT_DEPTH: u32 = 8;

/// Refuses what would end in an image that no kernel can map. Returns how many parents the
/// disk's image has, and its size. One that was flattened has none, whatever was recorded; one
/// that was grown by hand is larger than its disk.
pub(crate) fn require_short(images: &Images<'_>, source: &VdiRecord) -> Result<(u32, u64)> {
    let image = source.volume.image();
    let header = images.header(source)?;
    let depth = if header.has_parent { source.depth } else { 0 };
    if depth > MAX_DEPTH {
        return Err(Error::ChainTooLong {
            vdi: source.uuid,
            image: image.name.clone(),
            pool: images.pool_name().to_owned(),
            depth,
        });
    }
    if header.snapshots >= MAX_SNAPSHOTS {
        return Err(Error::TooManySnapshots {
            vdi: source.uuid,
            count: header.snapshots,
        });
    }
    Ok((depth, header.size))
}
