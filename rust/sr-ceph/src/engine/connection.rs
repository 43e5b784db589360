//! The one connection of this process.
//!
//! SM builds the SR's object again in the middle of some commands (blktap2 refreshes its target), but a
//! command must make at most one connection. So the connection belongs to the process. The front closes it at
//! the end, because librados must not run while the process exits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sr::engine::Result;

use crate::ceph::CephPool;
use crate::device_config::DeviceConfig;
use crate::error::Error;

/// How long each call to the cluster may take. If the cluster does not reply, SM replies within 30 s.
const DEADLINE: Duration = Duration::from_secs(25);

struct Open {
    config: DeviceConfig,
    pool: Arc<CephPool>,
}

static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// The pool of a device-config, connected at the first call. `explain` adds what happened to a pool that does
/// not exist.
pub(super) fn pool(
    config: &DeviceConfig,
    before: fn(),
    explain: impl FnOnce(Error, &librbd::Cluster) -> Error,
) -> Result<Arc<CephPool>> {
    let name = config.require_pool()?;
    // A thread that panicked left a complete connection, or none.
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = open.as_ref().filter(|open| open.config == *config) {
        return Ok(found.pool.clone());
    }
    let cluster = connect(config, before)?;
    let opened = CephPool::open(cluster.clone(), name);
    let opened = opened.and_then(|pool| {
        let size = config.image_format().layout.object_size;
        let pool = pool.in_namespace(config.namespace())?;
        Ok(pool.with_data_in(config.data_pool())?.with_objects_of(size))
    });
    let pool = Arc::new(opened.map_err(|error| explain(error, &cluster))?);
    *open = Some(Open {
        config: config.clone(),
        pool: pool.clone(),
    });
    Ok(pool)
}

/// Connects to the cluster of a device-config. `before` is called before Ceph's libraries are loaded.
pub(super) fn connect(config: &DeviceConfig, before: fn()) -> Result<librbd::Cluster> {
    before();
    Ok(crate::ceph::connect(config, DEADLINE)?)
}

/// Closes the connection of this process. Called before the process ends.
pub fn close_connection() {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    // A request that ceph-mgr has not replied to may still hold it open.
    librbd::guard_exit();
}
