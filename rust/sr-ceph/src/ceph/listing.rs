//! Counting the objects of a real pool.

use std::ops::ControlFlow;

use librbd::{Diff, SnapId};

use super::CephPool;
use crate::pool::{Counted, Listing, Part, Result};

impl Listing for CephPool {
    fn count_objects(&self, data_pool: Option<&str>, part: Part) -> Result<Counted> {
        let Some(name) = data_pool else {
            return Ok(self.pool.count_data_objects(&self.pool, part)?);
        };
        let data = self.cluster.pool(name)?;
        let data = data.in_namespace(self.pool.namespace())?;
        Ok(data.count_data_objects(&self.pool, part)?)
    }

    fn data_pool_of(&self, id: &str) -> Result<Option<String>> {
        let data_pool = self.pool.header(id).data_pool_id()?;
        let named = data_pool.map(|data_pool| self.cluster.pool_name(data_pool));
        Ok(named.transpose()?)
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
