//! A pool.

use std::ffi::CString;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use crate::buffer::c_string;
use crate::cluster::Cluster;
use crate::error::{check, Error, Result};
use crate::ffi::rados::{rados_ioctx_t, Rados};
use crate::ffi::rbd::Rbd;

/// A pool, or one RADOS namespace of it. Clones share the handle.
///
/// When the pool's quota is reached, operations that free space or need none still succeed. The others fail
/// with EDQUOT instead of blocking (with librados before Octopus, for the whole connection).
#[derive(Clone)]
pub struct Pool(Arc<IoContext>);

/// The `rados_ioctx_t`, destroyed on drop, before the connection it belongs to.
struct IoContext {
    cluster: Cluster,
    raw: rados_ioctx_t,
    name: String,
    namespace: String,
}

// SAFETY: threads may share an ioctx if none changes its settings, which are all set in `open`, before it is
// shared.
unsafe impl Send for IoContext {}
// SAFETY: as above.
unsafe impl Sync for IoContext {}

impl Drop for IoContext {
    /// Implements: `void rados_ioctx_destroy(rados_ioctx_t io)`.
    fn drop(&mut self) {
        // SAFETY: valid, and its last use: images hold the `Arc` that owns it.
        unsafe { self.cluster.library().rados.rados_ioctx_destroy(self.raw) };
    }
}

impl Cluster {
    /// Returns the pool called `name`, in its default namespace.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is no such pool.
    pub fn pool(&self, name: &str) -> Result<Pool> {
        Pool::open(self, name, "")
    }
}

impl Pool {
    /// Implements: `int rados_ioctx_create(rados_t cluster, const char *pool_name,
    /// rados_ioctx_t *ioctx)`, `void rados_ioctx_set_namespace(rados_ioctx_t io, const
    /// char *nspace)`, `void rados_set_pool_full_try(rados_ioctx_t io)`, and before Octopus `void
    /// rados_set_osdmap_full_try(rados_ioctx_t io)`.
    fn open(cluster: &Cluster, name: &str, namespace: &str) -> Result<Self> {
        let (connection, owned) = (cluster.clone(), (name.to_owned(), namespace.to_owned()));
        let object = format!("the pool {name}");
        cluster
            .patience()
            .read_in_time("rados_ioctx_create", &object, move || {
                Self::open_now(&connection, &owned.0, &owned.1)
            })
    }

    fn open_now(cluster: &Cluster, name: &str, namespace: &str) -> Result<Self> {
        let (c_name, c_namespace) = (c_string("pool", name)?, c_string("namespace", namespace)?);
        let rados = &cluster.library().rados;
        let mut raw = ptr::null_mut();
        // SAFETY: the connection is up; `raw` gets the ioctx; the name is a C string.
        let created = unsafe { rados.rados_ioctx_create(cluster.raw(), c_name.as_ptr(), &mut raw) };
        check("rados_ioctx_create", || format!("the pool {name}"), created)?;
        let context = IoContext {
            cluster: cluster.clone(),
            raw,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        // SAFETY: the ioctx is new and not shared; librados copies the namespace.
        unsafe {
            rados.rados_ioctx_set_namespace(raw, c_namespace.as_ptr());
            if rados.rados_set_pool_full_try(raw).is_none() {
                rados.rados_set_osdmap_full_try(raw);
            }
        }
        Ok(Self(Arc::new(context)))
    }

    /// Returns a RADOS namespace of this pool; the empty one is the default. Does not check that it exists.
    pub fn in_namespace(&self, namespace: &str) -> Result<Self> {
        Self::open(&self.0.cluster, &self.0.name, namespace)
    }

    /// Returns the connection of the pool.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    /// Returns the pool's number.
    ///
    /// Implements: `int64_t rados_ioctx_get_id(rados_ioctx_t io)`.
    pub fn id(&self) -> i64 {
        // SAFETY: the ioctx is valid.
        unsafe { self.rados().rados_ioctx_get_id(self.raw()) }
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the RADOS namespace; empty for the default one.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    pub(crate) fn raw(&self) -> rados_ioctx_t {
        self.0.raw
    }

    pub(crate) fn rados(&self) -> &'static Rados {
        &self.0.cluster.library().rados
    }

    pub(crate) fn rbd(&self) -> Result<&'static Rbd> {
        self.0.cluster.library().rbd()
    }

    /// Returns the full name of an object or image for errors: `pool/namespace/name`.
    pub(crate) fn path(&self, name: &str) -> String {
        match self.namespace() {
            "" => format!("{}/{name}", self.name()),
            namespace => format!("{}/{namespace}/{name}", self.name()),
        }
    }
}

/// Returns the name of an object as a C string. Refuses an empty name, which means the whole pool in some
/// calls.
pub(crate) fn object_name(oid: &str) -> Result<CString> {
    if oid.is_empty() {
        return Err(Error::BadArgument {
            argument: "object name",
            reason: "it is empty".to_owned(),
        });
    }
    c_string("object name", oid)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.0.name)
            .field("namespace", &self.0.namespace)
            .finish_non_exhaustive()
    }
}
