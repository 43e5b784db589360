//! The pool that keeps the data of new images. It may be erasure coded.
//!
//! Headers and the catalogue need omap objects, which an erasure-coded pool does not have.

use librbd::Cluster;

use super::monitors::pools;
use crate::error::{DataPoolError, Result};

/// Checks that the cluster has that pool. Without a list of the pools, the first new image shows it.
pub(super) fn require(cluster: &Cluster, pool: &str) -> Result<()> {
    let present = pools(cluster);
    if present.is_empty() || present.values().any(|name| name == pool) {
        return Ok(());
    }
    let present = present.into_values().collect::<Vec<_>>().join(", ");
    let pool = pool.to_owned();
    Err(DataPoolError::Missing { pool, present }.into())
}
