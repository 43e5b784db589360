//! The objects of the simulator's images. Only their number is simulated.

use super::client::MemoryPool;
use super::report::POOL_NAME;
use super::Sim;
use crate::pool::{Counted, Listing, Objects, Part, Result};

/// Objects of the pool that belong to no image: headers, catalogues, and what others keep there.
const OTHERS: u64 = 100;

impl Sim {
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
    fn count_objects(&self, which: Objects, part: Part) -> Result<Counted> {
        let state = self.request("count_objects", POOL_NAME)?;
        let mut counted = Counted::default();
        if which == Objects::OfDataPool {
            return Ok(counted);
        }
        counted.listed = share(OTHERS, part);
        for (id, image) in &state.pool.images {
            let objects = share(image.objects, part);
            counted.listed += objects;
            if objects > 0 {
                counted.images.insert(id.clone(), objects);
            }
        }
        Ok(counted)
    }

    fn object_size(&self, id: &str) -> Result<u64> {
        self.look("object_size", id, |_| 4 << 20)
    }
}
