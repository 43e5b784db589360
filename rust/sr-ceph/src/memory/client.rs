//! A client of the pool, and what makes its requests fail.

use std::sync::MutexGuard;

use nix::libc;

use super::pool_state::Image;
use super::report::POOL_NAME;
use super::{Sim, State};
use crate::pool::{PoolError, Result};

/// The fsid of the simulator's only cluster.
const FSID: &str = "5b0c0ffe-0000-4000-8000-000000000001";

/// A client of a [`Sim`]'s pool.
#[derive(Clone)]
pub struct MemoryPool {
    sim: Sim,
    pub(super) address: String,
}

pub(super) fn fsid() -> String {
    FSID.to_owned()
}

impl MemoryPool {
    pub(super) fn new(sim: Sim) -> Self {
        let nonce = sim.lock().number();
        MemoryPool {
            sim,
            address: format!("127.0.0.1:0/{nonce}"),
        }
    }

    /// As [`MemoryPool::request`], for a change that needs the image's lock.
    pub(super) fn request_lock(&self, call: &str, id: &str) -> Result<MutexGuard<'_, State>> {
        let state = self.request(call, id)?;
        let image = state.pool.images.get(id);
        match image.and_then(|image| image.lock.as_deref()) {
            None => Ok(state),
            Some(lock) => Err(PoolError {
                detail: Some(format!("rbd lock rm {POOL_NAME}/IMAGE '{lock}'")),
                ..PoolError::new(call, id, libc::EBUSY)
            }),
        }
    }

    pub(super) fn request(&self, call: &str, object: &str) -> Result<MutexGuard<'_, State>> {
        let state = self.sim.lock();
        if state.pool.unreachable {
            return Err(PoolError::new(call, object, libc::ETIMEDOUT));
        }
        if state.pool.blocklist.contains_key(&self.address) {
            return Err(PoolError::new(call, object, libc::ESHUTDOWN));
        }
        Ok(state)
    }

    /// Reads something of an image.
    pub(super) fn look<T>(&self, call: &str, id: &str, at: impl FnOnce(&Image) -> T) -> Result<T> {
        let state = self.request(call, id)?;
        let image = state.pool.images.get(id);
        let image = image.ok_or_else(|| PoolError::new(call, id, libc::ENOENT))?;
        Ok(at(image))
    }

    /// The same for an image that is opened for it. librbd looks up its name in the directory and in the
    /// trash, and opens its parents: if one is missing, it returns ENOENT too.
    pub(super) fn open<T>(&self, call: &str, id: &str, at: impl FnOnce(&Image) -> T) -> Result<T> {
        let state = self.request(call, id)?;
        let opened = state.pool.openable(id);
        let image = opened.ok_or_else(|| PoolError::new(call, id, libc::ENOENT))?;
        Ok(at(image))
    }
}
