//! Compares an image with a snapshot.

use std::ffi::{c_int, c_void, CStr};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::buffer::c_string;
use crate::error::Result;
use crate::image::Image;

impl Image {
    /// Returns whether the `length` bytes of the image at `offset` have changed since the user snapshot
    /// `snapshot`. Each object that was written, discarded or created since then counts as a change, also if
    /// its data is the same. Stops at the first change. Sends a request for each object of the range, unless
    /// the image has the feature `fast-diff`.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found) if the image has no such snapshot.
    ///
    /// Implements: `int rbd_diff_iterate2(rbd_image_t image, const char *fromsnapname, uint64_t ofs,
    /// uint64_t len, uint8_t include_parent, uint8_t whole_object, rbd_diff_callback_t cb, void
    /// *arg)`.
    pub fn differs_from(&self, snapshot: &str, offset: u64, length: u64) -> Result<bool> {
        let name = c_string("snapshot name", snapshot)?;
        self.read("rbd_diff_iterate2", move |image| {
            image.differs_from_now(&name, offset, length)
        })
    }

    fn differs_from_now(&self, name: &CStr, offset: u64, length: u64) -> Result<bool> {
        let found = AtomicBool::new(false);
        let data = std::ptr::from_ref(&found).cast_mut().cast();
        let (without_parent, whole_objects) = (0, 1);
        // SAFETY: the image is open; the name is a C string; `found` outlives the call.
        let compared = unsafe {
            self.rbd().rbd_diff_iterate2(
                self.raw(),
                name.as_ptr(),
                offset,
                length,
                without_parent,
                whole_objects,
                note,
                data,
            )
        };
        if found.load(Ordering::Relaxed) {
            return Ok(true); // the call ends with what `note` returns
        }
        self.check("rbd_diff_iterate2", compared).map(|_| false)
    }
}

/// An `rbd_diff_callback_t`: records a difference, and ends the call.
///
/// # Safety
/// `data` points to an `AtomicBool` that lives.
unsafe extern "C" fn note(
    _offset: u64,
    _length: usize,
    _exists: c_int,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise; an atomic may be written from any thread.
    let found = unsafe { &*data.cast_const().cast::<AtomicBool>() };
    found.store(true, Ordering::Relaxed);
    -(Errno::ECANCELED as c_int)
}
