//! Fault injection for the calls that count objects.

use sr::faults::read;

use super::pool::FaultyPool;
use crate::pool::{Counted, Listing, Part, Result};

impl Listing for FaultyPool<'_, '_> {
    fn count_objects(&self, data_pool: Option<&str>, part: Part) -> Result<Counted> {
        let owned = data_pool.map(ToOwned::to_owned);
        self.call(&read("count_objects", ""), move |c| {
            c.count_objects(owned.as_deref(), part)
        })
    }

    fn data_pool_of(&self, id: &str) -> Result<Option<String>> {
        let owned = id.to_owned();
        self.call(&read("data_pool_of", id), move |c| c.data_pool_of(&owned))
    }

    fn data_in(&self, id: &str, snapshot: Option<u64>, offset: u64, length: u64) -> Result<u64> {
        let owned = id.to_owned();
        self.call(&read("data_in", id), move |c| {
            c.data_in(&owned, snapshot, offset, length)
        })
    }

    fn object_size_of(&self, id: &str) -> Result<u64> {
        let owned = id.to_owned();
        self.call(&read("object_size_of", id), move |c| {
            c.object_size_of(&owned)
        })
    }
}
