//! Counting the objects of a real pool.

use super::CephPool;
use crate::pool::{Counted, Listing, Objects, Part, Result};

impl Listing for CephPool {
    fn count_objects(&self, which: Objects, part: Part) -> Result<Counted> {
        match (which, &self.data_pool) {
            (Objects::Own, _) => Ok(self.pool.count_data_objects(&self.pool, part)?),
            (Objects::OfDataPool, None) => Ok(Counted::default()),
            (Objects::OfDataPool, Some(name)) => {
                let data = self.cluster.pool(name)?;
                Ok(data.count_data_objects(&self.pool, part)?)
            }
        }
    }

    fn object_size(&self, id: &str) -> Result<u64> {
        Ok(self.pool.header(id).object_size()?)
    }
}
