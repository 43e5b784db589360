//! Which parts of a VDI have data, for a program that copies only those.
//!
//! Reads no record: the caller has the image, and keeps the VDI plugged, so that no revert replaces it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use librbd::{Diff, ImageRef, SnapId};
use sr::engine::Pairs;

use crate::ceph::{connect, CephPool};
use crate::device_config::DeviceConfig;
use crate::error::Context;
use crate::pool::PoolError;

/// For each call to the cluster. A client of the caller waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

/// The connections of this process, by device-config. VDIs of one SR share one.
static POOLS: Mutex<Vec<(DeviceConfig, Arc<CephPool>)>> = Mutex::new(Vec::new());

/// An open image or snapshot.
pub struct Allocation(librbd::Image);

impl Allocation {
    /// Opens an image of the SR with that device-config, for reading, or one of its snapshots.
    ///
    /// # Errors
    /// The cluster cannot be reached, or does not have the image.
    pub fn open(
        device_config: Pairs,
        image_id: &str,
        snapshot: Option<u64>,
    ) -> sr::engine::Result<Self> {
        let config = DeviceConfig::parse(device_config)?;
        let pool = pool(&config)?;
        let doing = format!("opening image {image_id} to list its data");
        let image = ImageRef::Id(image_id);
        let opened = pool.image_open(&image, true).map_err(PoolError::from);
        let mut image = opened.doing(&doing)?;
        if let Some(id) = snapshot {
            let set = image.set_snapshot(Some(SnapId(id)));
            set.map_err(PoolError::from).doing(&doing)?;
        }
        Ok(Self(image))
    }

    /// Returns the ranges with data, as offset and length in bytes, in their order. A range may also have parts
    /// that were never written. Data of the parents counts.
    ///
    /// # Errors
    /// The cluster cannot be reached. The next [`Allocation::open`] connects again.
    pub fn data(&self, offset: u64, length: u64) -> sr::engine::Result<Vec<(u64, u64)>> {
        let diff = Diff {
            since: None,
            with_parent: true,
            whole_objects: true,
        };
        let found = self.0.extents(&diff, offset, length);
        if found.is_err() {
            pools().clear();
        }
        let found = found
            .map_err(PoolError::from)
            .doing("listing the data of an image")?;
        let data = found.into_iter().filter(|extent| extent.exists);
        Ok(data.map(|extent| (extent.offset, extent.length)).collect())
    }
}

fn pools() -> MutexGuard<'static, Vec<(DeviceConfig, Arc<CephPool>)>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pool(config: &DeviceConfig) -> sr::engine::Result<Arc<CephPool>> {
    let mut pools = pools();
    if let Some((_, pool)) = pools.iter().find(|(of, _)| of == config) {
        return Ok(pool.clone());
    }
    let name = config.require_pool()?;
    let pool = CephPool::open(connect(config, DEADLINE)?, name)?;
    let pool = Arc::new(pool.in_namespace(config.namespace())?);
    pools.push((config.clone(), pool.clone()));
    Ok(pool)
}
