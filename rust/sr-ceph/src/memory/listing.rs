//! The objects of the simulator's images. Only their number is simulated.

use nix::libc;

use super::client::MemoryPool;
use super::report::POOL_NAME;
use super::Sim;
use crate::pool::{Counted, Listing, Part, PoolError, Result};

const OBJECT_SIZE: u64 = 4 << 20;

/// Objects of the pool that belong to no image: headers, catalogues, and what others keep there.
const OTHERS: u64 = 100;

/// A data pool that the driver's user may not use.
pub const CLOSED_DATA_POOL: &str = "closed-data";

impl Sim {
    /// Sets the pool that has an image's data. `None`: the image's own pool.
    pub fn set_data_pool(&self, image_id: &str, pool: Option<&str>) {
        if let Some(image) = self.lock().pool.images.get_mut(image_id) {
            image.data_pool = pool.map(str::to_owned);
        }
    }

    /// Sets how many objects an image has, as its data takes.
    pub fn set_objects(&self, image_id: &str, objects: u64) {
        if let Some(image) = self.lock().pool.images.get_mut(image_id) {
            image.objects = objects;
        }
    }
}

/// The share of a part.
fn share(objects: u64, part: Part) -> u64 {
    let (number, of) = (part.number as u64, part.of as u64);
    objects / of + u64::from(number < objects % of)
}

impl Listing for MemoryPool {
    fn count_objects(&self, data_pool: Option<&str>, part: Part) -> Result<Counted> {
        let state = self.request("count_objects", data_pool.unwrap_or(POOL_NAME))?;
        if data_pool == Some(CLOSED_DATA_POOL) {
            return Err(PoolError::new(
                "count_objects",
                CLOSED_DATA_POOL,
                libc::EPERM,
            ));
        }
        let mut counted = Counted {
            listed: share(OTHERS, part),
            ..Counted::default()
        };
        let images = state.pool.images.iter();
        for (id, image) in images.filter(|(_, it)| it.data_pool.as_deref() == data_pool) {
            let objects = share(image.objects, part);
            counted.listed += objects;
            if objects > 0 {
                counted.images.insert(id.clone(), objects);
            }
        }
        Ok(counted)
    }

    fn data_pool_of(&self, id: &str) -> Result<Option<String>> {
        match self.look("data_pool_of", id, |image| image.data_pool.clone()) {
            Err(e) if e.is_not_found() => Ok(None), // a missing header has no data pool
            other => other,
        }
    }

    /// The objects are at the beginning.
    fn data_in(&self, id: &str, snapshot: Option<u64>, offset: u64, length: u64) -> Result<u64> {
        let missing = || PoolError::new("data_in", id, libc::ENOENT);
        let found = self.open("data_in", id, |image| {
            let is_there = snapshot.is_none_or(|snapshot| image.snapshot(snapshot).is_some());
            is_there.then_some(image.objects * OBJECT_SIZE)
        })?;
        let data = found.ok_or_else(missing)?;
        Ok(data.min(offset + length).saturating_sub(offset))
    }

    fn object_size_of(&self, id: &str) -> Result<u64> {
        self.look("object_size_of", id, |_| OBJECT_SIZE)
    }
}
