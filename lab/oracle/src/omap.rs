//! An object's omap, by librados' C functions as the crate `ceph` declares them.

use std::ffi::{c_char, c_int, CStr, CString};
use std::ptr;

use ceph::ceph::IoCtx;
use ceph::error::RadosResult;
use ceph::rados::{
    rados_create_read_op, rados_ioctx_t, rados_omap_get_end, rados_omap_get_next,
    rados_omap_iter_t, rados_read_op_omap_get_vals, rados_read_op_operate, rados_read_op_t,
    rados_release_read_op,
};

use crate::Omap;

/// The limit of entries for one request. OSDs may return fewer.
const PAGE: u64 = 1024;

/// Reads an object's omap page by page. Changes made meanwhile may be seen, or not.
pub fn read(ioctx: &IoCtx, object: &str) -> RadosResult<Omap> {
    let object = CString::new(object)?;
    let mut omap = Omap::new();
    let mut after = CString::default();
    loop {
        let page = Page::read(*ioctx.inner(), &object, &after)?.entries()?;
        let Some((last, _)) = page.last_key_value() else {
            return Ok(omap);
        };
        after = CString::new(last.as_str())?;
        omap.extend(page);
    }
}

fn check(code: c_int) -> RadosResult<()> {
    if code < 0 {
        return Err(code.into());
    }
    Ok(())
}

/// A completed read operation, with its entries.
struct Page {
    operation: rados_read_op_t,
    iterator: rados_omap_iter_t,
}

impl Page {
    fn read(ioctx: rados_ioctx_t, object: &CStr, after: &CStr) -> RadosResult<Self> {
        let prefix = c"";
        // librados writes the step's own result here while the operation runs.
        let mut result: c_int = 0;
        // SAFETY: takes no argument and returns an operation, which Drop releases.
        let operation = unsafe { rados_create_read_op() };
        let mut page = Page {
            operation,
            iterator: ptr::null_mut(),
        };
        // SAFETY: the operation is new; the strings end with NUL and outlive the call, which copies
        // them; `page.iterator` and `result` stay where they are until the operation has run.
        unsafe {
            rados_read_op_omap_get_vals(
                page.operation,
                after.as_ptr(),
                prefix.as_ptr(),
                PAGE,
                &mut page.iterator,
                &mut result,
            );
        }
        // SAFETY: the context lives as long as the caller's `IoCtx`, and the call returns only when
        // the operation is over.
        check(unsafe { rados_read_op_operate(page.operation, ioctx, object.as_ptr(), 0) })?;
        check(result)?;
        Ok(page)
    }

    fn entries(self) -> RadosResult<Omap> {
        let mut entries = Omap::new();
        loop {
            let mut key: *mut c_char = ptr::null_mut();
            let mut value: *mut c_char = ptr::null_mut();
            let mut length = 0;
            // SAFETY: the operation succeeded, so it has filled in the iterator; the three
            // results are written before the call returns.
            check(unsafe {
                rados_omap_get_next(self.iterator, &mut key, &mut value, &mut length)
            })?;
            if key.is_null() {
                return Ok(entries);
            }
            // SAFETY: a key ends with NUL and belongs to the iterator, which lives until Drop.
            let key = unsafe { CStr::from_ptr(key) };
            let value = if value.is_null() {
                Vec::new()
            } else {
                // SAFETY: `length` bytes, the iterator's, which lives until Drop; copied here.
                unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length) }.to_vec()
            };
            entries.insert(String::from_utf8(key.to_bytes().to_vec())?, value);
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if !self.iterator.is_null() {
            // SAFETY: librados made the iterator, and nothing points into it any more.
            unsafe { rados_omap_get_end(self.iterator) };
        }
        // SAFETY: made by rados_create_read_op and released nowhere else.
        unsafe { rados_release_read_op(self.operation) };
    }
}
