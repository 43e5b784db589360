//! Tasks of ceph-mgr.

use std::time::Duration;

use serde_json::json;

use crate::pool::{PoolError, Result};

/// How long ceph-mgr may take to reply. It gets only requests that can be repeated, and that a reclaim worker
/// can do instead.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks ceph-mgr to run a task about an image. `key` is the name of the argument with the image's path.
pub(super) fn ask(
    cluster: &librbd::Cluster,
    prefix: &str,
    key: &str,
    (pool, image): (&str, &str),
) -> Result<()> {
    let command = json!({"prefix": prefix, key: format!("{pool}/{image}")});
    // Without a ceph-mgr the request waits for one. XAPI must not wait as long.
    match cluster.mgr_command_within(&command, PATIENCE)? {
        Some(_) => Ok(()),
        None => Err(PoolError {
            detail: Some(format!(
                "ceph-mgr did not reply within {} s",
                PATIENCE.as_secs()
            )),
            ..PoolError::new(prefix, image, nix::libc::ETIMEDOUT)
        }),
    }
}
