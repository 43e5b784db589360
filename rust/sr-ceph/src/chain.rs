//! Limits of an image's clone chain, and of the number of its snapshots.

use crate::error::{Error, Result};
use crate::image::Images;
use crate::record::VdiRecord;

/// The longest clone chain of an image, in parents: krbd maps 16. A snapshot is refused before that, so that
/// each snapshot can be cloned, and the clone can be mapped.
pub const MAX_DEPTH: u32 = 14;

/// Snapshots that an image can have: krbd maps an image with 510.
pub const MAX_SNAPSHOTS: usize = 500;

/// The longest clone chain that is not flattened in the background, in parents. Reading a block that no image
/// of the chain has costs a lookup in each parent.
pub const SOFT_DEPTH: u32 = 8;

/// Refuses an operation that would make an image which no kernel can map. Returns the length of the clone
/// chain of the disk's image, and the image's size. A flattened image has no parent, even if the record has
/// another number. An image that was grown by hand is larger than its disk.
pub(crate) fn require_short(images: &Images<'_>, source: &VdiRecord) -> Result<(u32, u64)> {
    let image = source.volume.image();
    let header = images.header(source)?;
    let depth = if header.has_parent { source.depth } else { 0 };
    if depth > MAX_DEPTH {
        return Err(Error::ChainTooLong {
            vdi: source.uuid,
            image: image.name.clone(),
            pool: images.pool_spec(),
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
