//! A second client of a Ceph cluster, through the crate `ceph` and a librados that the linker
//! bound: no code is shared with the driver, so what both agree on is what the cluster holds.
//!
//! The crate's safe API is not sound (`examples/`). Two things keep its faults out of reach here:
//! only `connect_to_ceph`, `get_rados_ioctx` and `rados_pools` are called, and no I/O context
//! outlives its connection ([`Pool`]). It knows an object's omap only as C functions: all `unsafe`
//! is in [`omap`].

pub mod omap;

use std::collections::BTreeMap;

use ceph::ceph::{connect_to_ceph, IoCtx, Rados};
use ceph::error::RadosResult;

/// An omap: value by key.
pub type Omap = BTreeMap<String, Vec<u8>>;

/// Connects as `client.<user>`. How long that may take is for `conf` to say: the crate reads the
/// file and connects in one go, and leaves no moment for setting anything.
pub fn connect(conf: &str, user: &str) -> RadosResult<Rados> {
    connect_to_ceph(user, conf)
}

/// A pool, with the connection it is reached by.
pub struct Pool {
    // Dropped in this order, and so before the connection, without which it points into freed memory.
    ioctx: IoCtx,
    _connection: Rados,
}

impl Pool {
    /// Opens a pool, which must exist.
    pub fn open(connection: Rados, name: &str) -> RadosResult<Self> {
        let ioctx = connection.get_rados_ioctx(name)?;
        Ok(Pool {
            ioctx,
            _connection: connection,
        })
    }

    /// The whole omap of an object. ENOENT where there is no such object.
    pub fn omap(&self, object: &str) -> RadosResult<Omap> {
        omap::read(&self.ioctx, object)
    }
}
