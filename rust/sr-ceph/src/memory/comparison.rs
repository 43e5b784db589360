//! Comparing an image of the simulator with its snapshots. A content is one number, so that all blocks differ or
//! none.

use nix::libc;

use super::client::MemoryPool;
use crate::bitmap::Bitmap;
use crate::pool::{Comparison, PoolError, Result};

impl Comparison for MemoryPool {
    fn changed_blocks(
        &self,
        id: &str,
        since: u64,
        until: Option<u64>,
        size: u64,
    ) -> Result<Bitmap> {
        let fail = |errno| PoolError::new("changed_blocks", id, errno);
        let (older, newer) = self.open("changed_blocks", id, |image| {
            let content = |id: u64| image.snapshot(id).map(|snapshot| snapshot.content);
            let newer = until.map_or(Some(image.content), content);
            (content(since), newer)
        })?;
        let (Some(older), Some(newer)) = (older, newer) else {
            return Err(fail(libc::ENOENT));
        };
        if until.is_some_and(|until| until < since) {
            return Err(fail(libc::EINVAL));
        }
        let mut bitmap = Bitmap::new(size);
        if older != newer {
            bitmap.mark(0, size);
        }
        Ok(bitmap)
    }
}
