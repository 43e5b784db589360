//! The pool of the real cluster that the tests run on.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sr_ceph::device_config::DeviceConfig;

/// Tests use the cluster at the same time, except the one that counts calls.
static CLUSTER: RwLock<()> = RwLock::new(());

/// Waits until no test has the cluster for itself, and keeps it from starting until the guard is dropped.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    CLUSTER.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no other test of this process uses the cluster, and keeps them out until the guard is dropped.
pub fn exclusive() -> RwLockWriteGuard<'static, ()> {
    CLUSTER.write().unwrap_or_else(PoisonError::into_inner)
}

/// Returns how to connect, and the pool's name. `None`, and a line on stderr, if a variable is not set.
pub fn device_config() -> Option<(DeviceConfig, String)> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_) => {
            eprintln!("skipped: {name} is not set");
            None
        }
    };
    let pool = variable("SMBLOCK_TEST_POOL")?;
    let pairs = [
        ("pool", pool.clone()),
        ("ceph_conf", variable("SMBLOCK_TEST_CEPH_CONF")?),
        ("ceph_user", variable("SMBLOCK_TEST_CEPH_USER")?),
    ];
    let config = DeviceConfig::parse(pairs.map(|(key, value)| (key.to_owned(), value)));
    Some((config.unwrap(), pool))
}
