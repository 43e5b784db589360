//! The pool of a real cluster that the tests run on, where there is one.

use sr_ceph::device_config::DeviceConfig;

/// How to reach it, and its name; `None`, with the reason told, where the environment names none.
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
