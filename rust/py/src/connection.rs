//! The one connection of this process.
//!
//! SM builds the SR's object again in the middle of some commands (blktap2 refreshes its target),
//! but a command must make at most one connection: so it belongs to the process. Python's `atexit`
//! closes it, since librados must not be running while the process is torn down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use sr_ceph::ceph::CephPool;
use sr_ceph::device_config::DeviceConfig;

/// How long each call to the cluster may take: whoever waits for a cluster that does not answer
/// gets SM's reply within 30 s.
pub const DEADLINE: Duration = Duration::from_secs(25);

struct Open {
    config: DeviceConfig,
    pool: Arc<CephPool>,
}

static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// The pool that a device-config names, connected at the first call. `explain` adds what became of
/// a pool that does not exist.
pub fn pool(
    config: &DeviceConfig,
    explain: impl FnOnce(sr_ceph::Error, &librbd::Cluster) -> sr_ceph::Error,
) -> Result<Arc<CephPool>, crate::error::Failure> {
    let name = config.require_pool()?;
    // What a thread that panicked left here is still a whole connection, or none.
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = open.as_ref().filter(|open| open.config.connects_as(config)) {
        return Ok(found.pool.clone());
    }
    let cluster = connect(config)?;
    let opened = CephPool::open(cluster.clone(), name);
    let pool = Arc::new(opened.map_err(|error| explain(error, &cluster))?);
    *open = Some(Open {
        config: config.clone(),
        pool: pool.clone(),
    });
    Ok(pool)
}

/// A connection to the cluster that a device-config names.
pub fn connect(config: &DeviceConfig) -> Result<librbd::Cluster, sr_ceph::Error> {
    keep_reply();
    sr_ceph::ceph::connect(config, DEADLINE)
}

/// Keeps what librados prints to stdout out of xapi's reply, from now on. Called without the GIL.
pub fn keep_reply() {
    let keep = |py: Python<'_>| py.import("smblock.reply")?.call_method0("keep").map(|_| ());
    if let Err(error) = Python::with_gil(keep) {
        log::warn!("stdout is open to libraries: {error}");
    }
}

#[pyfunction]
fn close_connection(py: Python<'_>) {
    py.allow_threads(|| {
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A request that the manager has not answered may still hold it open.
        librbd::guard_exit();
    });
}

/// Has the connection closed when the interpreter ends.
pub fn close_at_exit(py: Python<'_>, module: &PyModule) -> PyResult<()> {
    let close = pyo3::wrap_pyfunction!(close_connection, module)?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}
