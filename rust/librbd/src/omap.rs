//! Creates, reads and changes the omap of an object. Changes are compare-and-swap.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, CString};
use std::ptr;

use crate::buffer::{c_string, c_strings, pointers};
use crate::error::{check, Result};
use crate::ffi::rados::{rados_omap_iter_t, rados_read_op_t};
use crate::pool::{object_name, Pool};
use crate::write_op::WriteOp;

/// One page of an object's pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OmapPage {
    /// Keys and values, in the order of the keys' bytes.
    pub entries: Vec<(String, Vec<u8>)>,
    /// The start of the next page; `None` after the last one.
    pub next: Option<OmapCursor>,
}

/// The last key of a page, which need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OmapCursor(CString);

impl OmapCursor {
    /// Returns the position after that key.
    ///
    /// # Errors
    /// A key with a NUL byte.
    pub fn behind(key: &str) -> Result<Self> {
        c_string("key", key).map(Self)
    }
}

/// A change of an object's pairs. The OSD makes the whole change if all expected values are present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OmapUpdate {
    /// The expected value of each key; `None` if the key must not exist.
    pub expect: Vec<(String, Option<Vec<u8>>)>,
    /// Pairs to write. No value may be empty: see [`Pool::omap_update`].
    pub set: Vec<(String, Vec<u8>)>,
    /// Keys to remove; a missing one is no error.
    pub remove: Vec<String>,
}

impl Pool {
    /// Creates an object with these pairs, in one operation.
    ///
    /// # Errors
    /// [`Error::is_already_there`] if the object exists. It stays unchanged.
    pub fn omap_create(&self, oid: &str, entries: &[(String, Vec<u8>)]) -> Result<()> {
        let mut op = WriteOp::new(self);
        op.create_exclusive();
        op.set(entries)?;
        op.operate(oid)
    }

    /// Returns up to `max` pairs whose keys start with `prefix` and come after `after` (by default from the
    /// first). The OSD may end a page earlier, usually at 1,024 pairs: only [`OmapPage::next`] shows whether
    /// there are more. A key that is not UTF-8 has replacement characters.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is no such object.
    ///
    /// Implements: `void rados_read_op_omap_get_vals2(rados_read_op_t read_op, const
    /// char *start_after, const char *filter_prefix, uint64_t max_return, rados_omap_iter_t *iter,
    /// unsigned char *pmore, int *prval)`.
    pub fn omap_page(
        &self,
        oid: &str,
        after: &OmapCursor,
        prefix: &str,
        max: u64,
    ) -> Result<OmapPage> {
        let (after, prefix) = (&after.0, c_string("key prefix", prefix)?);
        let mut op = ReadOp::new(self);
        let (mut more, mut code) = (0, 0);
        // SAFETY: the op is valid; librados copies the strings; `pairs.raw`, `more` and `code` stay valid
        // until the op is executed, below.
        unsafe {
            self.rados().rados_read_op_omap_get_vals2(
                op.raw,
                after.as_ptr(),
                prefix.as_ptr(),
                max,
                &mut op.pairs.raw,
                &mut more,
                &mut code,
            );
        }
        op.operate(oid)?;
        check("rados_read_op_omap_get_vals2", || self.path(oid), code)?;
        let (entries, last) = op.pairs.collect(oid)?;
        // C strings end at a NUL byte, so a page cannot begin after a key with such a byte.
        let last = last.and_then(|key| CString::new(key).ok());
        Ok(OmapPage {
            entries,
            next: last.filter(|_| more != 0).map(OmapCursor),
        })
    }

    /// Returns the values of `keys`. Omits missing keys.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is no such object.
    ///
    /// Implements: `void rados_read_op_omap_get_vals_by_keys(rados_read_op_t read_op, char const*
    /// const* keys, size_t keys_len, rados_omap_iter_t *iter, int *prval)`.
    pub fn omap_get(&self, oid: &str, keys: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
        let keys = c_strings("key", keys.iter().copied())?;
        let pointers = pointers(&keys);
        let mut op = ReadOp::new(self);
        let mut code = 0;
        // SAFETY: as in `omap_page`; each element of `pointers` is a C string.
        unsafe {
            self.rados().rados_read_op_omap_get_vals_by_keys(
                op.raw,
                pointers.as_ptr(),
                pointers.len(),
                &mut op.pairs.raw,
                &mut code,
            );
        }
        op.operate(oid)?;
        check(
            "rados_read_op_omap_get_vals_by_keys",
            || self.path(oid),
            code,
        )?;
        Ok(op.pairs.collect(oid)?.0.into_iter().collect())
    }

    /// Makes a change as one operation of the OSD: the whole change, or none if a value is not as expected.
    ///
    /// For the OSD, a missing key equals an empty value. So that `None` means only a missing key, this refuses
    /// empty values to set and to expect. An empty value of another program compares as a missing key.
    ///
    /// If a connection breaks, librados repeats the operation with the same number, and the OSD returns the
    /// result from its log: the change is made once. After ETIMEDOUT the outcome is unknown: the caller reads
    /// again, and compares with its own value.
    ///
    /// # Errors
    /// [`Error::is_compare_failed`] if a value is not as expected; [`Error::is_not_found`] if there is no such
    /// object (also if no value is expected).
    pub fn omap_update(&self, oid: &str, update: &OmapUpdate) -> Result<()> {
        let mut op = WriteOp::new(self);
        op.assert_exists();
        for (key, value) in &update.expect {
            op.expect(key, value.as_deref())?;
        }
        op.set(&update.set)?;
        op.remove(&update.remove)?;
        op.operate(oid)
    }

    /// Removes an object with all its pairs, if they are as expected (see [`OmapUpdate::expect`]).
    ///
    /// # Errors
    /// As [`Pool::omap_update`].
    pub fn omap_remove_object(&self, oid: &str, expect: &[(String, Vec<u8>)]) -> Result<()> {
        let mut op = WriteOp::new(self);
        op.assert_exists();
        for (key, value) in expect {
            op.expect(key, Some(value))?;
        }
        op.remove_object();
        op.operate(oid)
    }
}

/// A read of pairs from an object that must exist.
struct ReadOp<'pool> {
    pool: &'pool Pool,
    raw: rados_read_op_t,
    pairs: Pairs<'pool>,
}

impl<'pool> ReadOp<'pool> {
    /// Implements: `rados_read_op_t rados_create_read_op(void)`, `void
    /// rados_read_op_assert_exists(rados_read_op_t read_op)`.
    fn new(pool: &'pool Pool) -> Self {
        // SAFETY: it has no arguments; the op is released on drop.
        let raw = unsafe { pool.rados().rados_create_read_op() };
        // SAFETY: the op is valid.
        unsafe { pool.rados().rados_read_op_assert_exists(raw) };
        Self {
            pool,
            raw,
            pairs: Pairs {
                pool,
                raw: ptr::null_mut(),
            },
        }
    }

    /// Implements: `int rados_read_op_operate(rados_read_op_t read_op, rados_ioctx_t io, const
    /// char *oid, int flags)`.
    fn operate(&mut self, oid: &str) -> Result<()> {
        let c_oid = object_name(oid)?;
        // SAFETY: op and ioctx are valid; the results of the op are alive in the callers.
        let done = unsafe {
            let pool = self.pool;
            pool.rados()
                .rados_read_op_operate(self.raw, pool.raw(), c_oid.as_ptr(), 0)
        };
        check("rados_read_op_operate", || self.pool.path(oid), done)
            .map(|_| ())
            .map_err(|error| self.pool.explain_silence(error))
    }
}

impl Drop for ReadOp<'_> {
    /// Implements: `void rados_release_read_op(rados_read_op_t read_op)`.
    fn drop(&mut self) {
        // SAFETY: valid, and released once; before `pairs`, which the op may refer to.
        unsafe { self.pool.rados().rados_release_read_op(self.raw) };
    }
}

/// Pairs, and the bytes of the last key.
type Collected = (Vec<(String, Vec<u8>)>, Option<Vec<u8>>);

/// The result of a read op; null before the read is added to the op.
struct Pairs<'pool> {
    pool: &'pool Pool,
    raw: rados_omap_iter_t,
}

impl Pairs<'_> {
    /// Implements: `int rados_omap_get_next2(rados_omap_iter_t iter, char **key, char **val,
    /// size_t *key_len, size_t *val_len)`.
    fn collect(&mut self, oid: &str) -> Result<Collected> {
        let mut entries = Vec::new();
        let mut last = None;
        loop {
            let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
            let (mut key_length, mut value_length) = (0, 0);
            // SAFETY: the iterator was filled by an op that succeeded.
            let got: c_int = unsafe {
                self.pool.rados().rados_omap_get_next2(
                    self.raw,
                    &mut key,
                    &mut value,
                    &mut key_length,
                    &mut value_length,
                )
            };
            check("rados_omap_get_next2", || self.pool.path(oid), got)?;
            if key.is_null() {
                return Ok((entries, last));
            }
            // SAFETY: both point into the iterator, which outlives this copy.
            let (key, value) =
                unsafe { (copy_bytes(key, key_length), copy_bytes(value, value_length)) };
            entries.push((String::from_utf8_lossy(&key).into_owned(), value));
            last = Some(key);
        }
    }
}

impl Drop for Pairs<'_> {
    /// Implements: `void rados_omap_get_end(rados_omap_iter_t iter)`.
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: from a read op that was released; freed once.
            unsafe { self.pool.rados().rados_omap_get_end(self.raw) };
        }
    }
}

/// # Safety
/// `data` is null, or valid for reading `length` bytes.
unsafe fn copy_bytes(data: *const c_char, length: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    std::slice::from_raw_parts(data.cast(), length).to_vec()
}
