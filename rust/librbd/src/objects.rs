//! Finds, creates and removes plain objects of a pool.

use std::ptr;

use crate::error::{check, Result};
use crate::pool::{object_name, Pool};
use crate::write_op::WriteOp;

impl Pool {
    /// Returns whether there is an object called `oid`.
    ///
    /// Implements: `int rados_stat(rados_ioctx_t io, const char *o, uint64_t *psize,
    /// time_t *pmtime)`.
    pub fn object_exists(&self, oid: &str) -> Result<bool> {
        let c_oid = object_name(oid)?;
        // SAFETY: the ioctx is valid; null pointers for the size and time are allowed.
        let found = unsafe {
            let (size, time) = (ptr::null_mut(), ptr::null_mut());
            self.rados()
                .rados_stat(self.raw(), c_oid.as_ptr(), size, time)
        };
        match check("rados_stat", || self.path(oid), found) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(self.explain_silence(error)),
        }
    }

    /// Creates an empty object.
    ///
    /// # Errors
    /// [`Error::is_already_there`] if it exists.
    pub fn create_object(&self, oid: &str) -> Result<()> {
        let mut op = WriteOp::new(self);
        op.create_exclusive();
        op.operate(oid)
    }

    /// Removes an object.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is none.
    ///
    /// Implements: `int rados_remove(rados_ioctx_t io, const char *oid)`.
    pub fn remove_object(&self, oid: &str) -> Result<()> {
        let c_oid = object_name(oid)?;
        // SAFETY: the ioctx is valid; the name is a C string.
        let removed = unsafe { self.rados().rados_remove(self.raw(), c_oid.as_ptr()) };
        check("rados_remove", || self.path(oid), removed)
            .map(|_| ())
            .map_err(|error| self.explain_silence(error))
    }
}
