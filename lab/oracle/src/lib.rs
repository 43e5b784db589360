//! A second client of a Ceph cluster, with the crate `ceph` and a linked librados. It shares no code
//! with the driver, so if both read the same, the cluster has it.
//!
//! The crate's safe API is not sound (`examples/`). Two rules avoid its faults here: only
//! `connect_to_ceph`, `get_rados_ioctx` and `rados_pools` are called, and no I/O context outlives its
//! connection ([`Pool`]). The crate has an object's omap only as C functions: all `unsafe` is in
//! [`omap`].

pub mod omap;

use std::collections::BTreeMap;

use ceph::ceph::{connect_to_ceph, IoCtx, Rados};
use ceph::error::RadosResult;

/// An omap: value by key.
pub type Omap = BTreeMap<String, Vec<u8>>;

/// Connects as `client.<user>`. `conf` sets the deadline: the crate reads the file and connects in
/// one call, and options cannot be set in between.
pub fn connect(conf: &str, user: &str) -> RadosResult<Rados> {
    connect_to_ceph(user, conf)
}

/// A pool, with its connection.
pub struct Pool {
    // Fields are dropped in this order: the context before the connection that it points into.
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

    /// The whole omap of an object. ENOENT if the object does not exist.
    pub fn omap(&self, object: &str) -> RadosResult<Omap> {
        omap::read(&self.ioctx, object)
    }
}
