//! Fault injection for comparisons of images.

use sr::faults::read;

use super::pool::FaultyPool;
use crate::bitmap::Bitmap;
use crate::pool::{Comparison, Result};

impl Comparison for FaultyPool<'_, '_> {
    fn changed_blocks(
        &self,
        id: &str,
        since: u64,
        until: Option<u64>,
        size: u64,
    ) -> Result<Bitmap> {
        let owned = id.to_owned();
        self.call(&read("changed_blocks", id), move |c| {
            c.changed_blocks(&owned, since, until, size)
        })
    }
}
