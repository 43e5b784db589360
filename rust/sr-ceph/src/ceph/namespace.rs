//! The RADOS namespaces of a pool.

use crate::pool::{PoolError, Result};

/// The object that `rbd namespace create` makes in a namespace, and `rbd namespace remove` removes.
const MADE: &str = "rbd_directory";

/// The object of a pool with the names of its namespaces, which class `rbd` writes: a key `name_NAMESPACE` each.
const NAMES: &str = "rbd_namespace";
const NAME_PREFIX: &str = "name_";

/// Fails with ENOENT if the namespace does not exist. The default one exists. A user with rights in this
/// namespace only can find it out; `rbd_namespace_exists` needs the same right.
pub(super) fn require(pool: &librbd::Pool) -> Result<()> {
    let namespace = pool.namespace();
    if namespace.is_empty() || pool.object_exists(MADE)? {
        return Ok(());
    }
    Err(PoolError::new(
        "rbd_namespace_exists",
        namespace,
        nix::libc::ENOENT,
    ))
}

/// Returns the names of a pool's namespaces, without the default one. EPERM: the user has no rights in the
/// default one.
pub(super) fn list(pool: &librbd::Pool) -> Result<Vec<String>> {
    let pool = pool.in_namespace("")?;
    let (mut names, mut after) = (Vec::new(), librbd::OmapCursor::default());
    loop {
        let page = match pool.omap_page(NAMES, &after, NAME_PREFIX, u64::MAX) {
            Err(error) if error.is_not_found() => return Ok(names),
            other => other?,
        };
        let keys = page.entries.iter();
        names.extend(keys.filter_map(|(key, _)| Some(key.strip_prefix(NAME_PREFIX)?.to_owned())));
        match page.next {
            Some(next) => after = next,
            None => return Ok(names),
        }
    }
}

/// Explains an error of making an image that means that the namespace was removed.
pub(super) fn explain(pool: &librbd::Pool, error: PoolError) -> PoolError {
    if !error.is_not_found() || require(pool).is_ok() {
        return error;
    }
    let (pool, namespace) = (pool.name(), pool.namespace());
    PoolError {
        detail: Some(format!(
            "pool {pool} has no namespace {namespace} any more: on a node of the cluster, run 'rbd namespace create \
             {pool}/{namespace}'"
        )),
        ..error
    }
}
