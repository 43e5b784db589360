//! Opening a pool.

use super::snapshots::Held;
use super::{data_pool, namespace, pools, CephPool};
use crate::caps::Caps;
use crate::error::{Context, Error};
use crate::image_format::Layout;
use crate::pool::{PoolError, Result};

impl CephPool {
    /// Opens a pool, which must exist.
    pub fn open(cluster: librbd::Cluster, name: &str) -> crate::Result<Self> {
        match cluster.pool(name) {
            Ok(pool) => Ok(CephPool {
                cluster,
                pool,
                data_pool: None,
                object_size: Layout::DEFAULT.object_size,
                held: Held::default(),
            }),
            Err(e) if e.is_not_found() => Err(Error::PoolMissing {
                pool: name.to_owned(),
                present: pools(&cluster),
            }),
            Err(source) => Err(Error::Unreachable {
                fix: Some(format!(
                    "see 'ceph health detail' on a node of the cluster; if it is healthy, the monitors do \
                     not send the map of the OSDs: {}",
                    Caps::of(cluster.user(), name, "").grant()
                )),
                source,
            }),
        }
    }

    /// A namespace of this pool; the empty one is the default. It need not exist.
    pub fn in_namespace(self, namespace: &str) -> crate::Result<Self> {
        if namespace.is_empty() {
            return Ok(self);
        }
        let pool = self.pool.in_namespace(namespace).map_err(PoolError::from);
        let pool = pool.doing("opening the namespace")?;
        Ok(CephPool { pool, ..self })
    }

    /// Returns the names of the pool's namespaces, without the default one. EPERM: the user has no rights in the
    /// default one.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        namespace::list(&self.pool)
    }

    /// The same pool. New images keep their data in the other pool, which must exist.
    pub fn with_data_in(self, other: Option<&str>) -> crate::Result<Self> {
        if let Some(other) = other {
            data_pool::require(&self.cluster, other)?;
        }
        let data_pool = other.map(ToOwned::to_owned);
        Ok(CephPool { data_pool, ..self })
    }

    /// The same pool. The objects of new images have this size in bytes.
    #[must_use]
    pub fn with_objects_of(self, object_size: u64) -> Self {
        CephPool {
            object_size,
            ..self
        }
    }

    /// The connection.
    pub fn connection(&self) -> &librbd::Cluster {
        &self.cluster
    }
}
