//! An atomic change of one object.

use std::ffi::{c_char, CStr};
use std::ptr;

use crate::buffer::{c_string, c_strings, pointers};
use crate::error::{check, Error, Result};
use crate::ffi::rados::{rados_write_op_t, LIBRADOS_CMPXATTR_OP_EQ, LIBRADOS_CREATE_EXCLUSIVE};
use crate::pool::{object_name, Pool};

/// Steps on one object. The OSD executes all of them, or none.
pub(crate) struct WriteOp<'pool> {
    pool: &'pool Pool,
    raw: rados_write_op_t,
}

impl<'pool> WriteOp<'pool> {
    /// Implements: `rados_write_op_t rados_create_write_op(void)`.
    pub(crate) fn new(pool: &'pool Pool) -> Self {
        // SAFETY: it has no arguments; the op is released on drop.
        let raw = unsafe { pool.rados().rados_create_write_op() };
        Self { pool, raw }
    }

    /// Implements: `void rados_write_op_create(rados_write_op_t write_op, int exclusive, const
    /// char* category)`.
    pub(crate) fn create_exclusive(&mut self) {
        // SAFETY: the op is valid; the category is obsolete, and null is allowed.
        unsafe {
            let rados = self.pool.rados();
            rados.rados_write_op_create(self.raw, LIBRADOS_CREATE_EXCLUSIVE, ptr::null());
        }
    }

    /// Implements: `void rados_write_op_assert_exists(rados_write_op_t write_op)`.
    pub(crate) fn assert_exists(&mut self) {
        // SAFETY: the op is valid.
        unsafe { self.pool.rados().rados_write_op_assert_exists(self.raw) };
    }

    /// Adds a call of a method of a class.
    ///
    /// Implements: `void rados_write_op_exec(rados_write_op_t write_op, const char *cls, const
    /// char *method, const char *in_buf, size_t in_len, int *prval)`.
    pub(crate) fn call(&mut self, class: &CStr, method: &CStr, argument: &[u8]) {
        // SAFETY: the op is valid; librados copies all three; a null result is allowed.
        unsafe {
            self.pool.rados().rados_write_op_exec(
                self.raw,
                class.as_ptr(),
                method.as_ptr(),
                argument.as_ptr().cast(),
                argument.len(),
                ptr::null_mut(),
            );
        }
    }

    /// Implements: `void rados_write_op_omap_cmp(rados_write_op_t write_op, const char *key,
    /// uint8_t comparison_operator, const char *val, size_t val_len, int *prval)`.
    pub(crate) fn expect(&mut self, key: &str, value: Option<&[u8]>) -> Result<()> {
        let c_key = c_string("key", key)?;
        if let Some(value) = value {
            refuse_empty(key, value)?;
        }
        let value = value.unwrap_or_default();
        // SAFETY: the op is valid; librados copies key and value; a null result is allowed.
        unsafe {
            self.pool.rados().rados_write_op_omap_cmp(
                self.raw,
                c_key.as_ptr(),
                LIBRADOS_CMPXATTR_OP_EQ,
                value.as_ptr().cast(),
                value.len(),
                ptr::null_mut(),
            );
        }
        Ok(())
    }

    /// Implements: `void rados_write_op_omap_set(rados_write_op_t write_op, char const* const*
    /// keys, char const* const* vals, const size_t *lens, size_t num)`.
    pub(crate) fn set(&mut self, entries: &[(String, Vec<u8>)]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        for (key, value) in entries {
            refuse_empty(key, value)?;
        }
        let keys = c_strings("key", entries.iter().map(|(key, _)| key.as_str()))?;
        let keys = (pointers(&keys), keys);
        let values: Vec<*const c_char> = entries
            .iter()
            .map(|(_, value)| value.as_ptr().cast())
            .collect();
        let lengths: Vec<usize> = entries.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: the op is valid; the three arrays have the same length; librados copies keys and values,
        // each with its length.
        unsafe {
            self.pool.rados().rados_write_op_omap_set(
                self.raw,
                keys.0.as_ptr(),
                values.as_ptr(),
                lengths.as_ptr(),
                entries.len(),
            );
        }
        Ok(())
    }

    /// Implements: `void rados_write_op_omap_rm_keys(rados_write_op_t write_op, char const* const*
    /// keys, size_t keys_len)`.
    pub(crate) fn remove(&mut self, keys: &[String]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let keys = c_strings("key", keys.iter().map(String::as_str))?;
        let pointers = pointers(&keys);
        // SAFETY: the op is valid; librados copies all keys of the array.
        unsafe {
            let rados = self.pool.rados();
            rados.rados_write_op_omap_rm_keys(self.raw, pointers.as_ptr(), pointers.len());
        }
        Ok(())
    }

    /// Implements: `void rados_write_op_remove(rados_write_op_t write_op)`.
    pub(crate) fn remove_object(&mut self) {
        // SAFETY: the op is valid.
        unsafe { self.pool.rados().rados_write_op_remove(self.raw) };
    }

    /// Implements: `int rados_write_op_operate(rados_write_op_t write_op, rados_ioctx_t io, const
    /// char *oid, time_t *mtime, int flags)`.
    pub(crate) fn operate(self, oid: &str) -> Result<()> {
        let c_oid = object_name(oid)?;
        // SAFETY: op and ioctx are valid; a null time means now.
        let done = unsafe {
            let (pool, now) = (self.pool, ptr::null_mut());
            pool.rados()
                .rados_write_op_operate(self.raw, pool.raw(), c_oid.as_ptr(), now, 0)
        };
        check("rados_write_op_operate", || self.pool.path(oid), done)
            .map(|_| ())
            .map_err(|error| self.pool.explain_silence(error))
    }
}

impl Drop for WriteOp<'_> {
    /// Implements: `void rados_release_write_op(rados_write_op_t write_op)`.
    fn drop(&mut self) {
        // SAFETY: valid, and released once.
        unsafe { self.pool.rados().rados_release_write_op(self.raw) };
    }
}

fn refuse_empty(key: &str, value: &[u8]) -> Result<()> {
    if value.is_empty() {
        return Err(Error::BadArgument {
            argument: "value",
            reason: format!("the value of key {key} is empty, which equals a missing key"),
        });
    }
    Ok(())
}
