//! Counting the objects of a real pool.

use std::ops::ControlFlow;

use librbd::{Diff, SnapId};

use super::CephPool;
use crate::pool::{Counted, Listing, Objects, Part, Result};

impl Listing for CephPool {
    fn count_objects(&self, which: Objects, part: Part) -> Result<Counted> {
        match (which, &self.data_pool) {
            (Objects::Own, _) => Ok(self.pool.count_data_objects(&self.pool, part)?),
            (Objects::OfDataPool, None) => Ok(Counted::default()),
            (Objects::OfDataPool, Some(name)) => {
                let data = self.cluster.pool(name)?;
                let data = data.in_namespace(self.pool.namespace())?;
                Ok(data.count_data_objects(&self.pool, part)?)
            }
        }
    }

    fn data_in(&self, id: &str, snapshot: Option<u64>, offset: u64, length: u64) -> Result<u64> {
        let mut image = self.open_image(id, true)?;
        image.set_snapshot(snapshot.map(SnapId))?;
        let data = image.diff(&Diff::default(), offset, length, 0, |data, extent| {
            *data += if extent.exists { extent.length } else { 0 };
            ControlFlow::Continue(())
        })?;
        image.close()?;
        Ok(data)
    }

    fn object_size_of(&self, id: &str) -> Result<u64> {
        Ok(self.pool.header(id).object_size()?)
    }
}
