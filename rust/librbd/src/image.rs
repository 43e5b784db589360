//! An image: opens and closes it, and makes calls on an open one.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use nix::errno::Errno;

use crate::buffer::{c_string, text_of_unknown_length};
use crate::error::{check, Result};
use crate::ffi::rbd::{rbd_image_t, Rbd};
use crate::pool::Pool;

/// A reference to an image. An id never changes and is never used again. A name can change, and can be used
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageRef<'a> {
    /// By its id.
    Id(&'a str),
    /// By its name.
    Name(&'a str),
}

impl fmt::Display for ImageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Pool {
    /// Opens an image, at its head. A read-only image has no watch: its properties may become stale. It cannot
    /// be changed.
    ///
    /// Implements: `int rbd_open(rados_ioctx_t io, const char *name, rbd_image_t *image, const
    /// char *snap_name)`, `int rbd_open_by_id(rados_ioctx_t io, const char *id, rbd_image_t *image,
    /// const char *snap_name)`, `int rbd_open_read_only(rados_ioctx_t io, const char *name,
    /// rbd_image_t *image, const char *snap_name)`, `int rbd_open_by_id_read_only(rados_ioctx_t io,
    /// const char *id, rbd_image_t *image, const char *snap_name)`.
    pub fn image_open(&self, image: &ImageRef<'_>, read_only: bool) -> Result<Image> {
        let call = match (image, read_only) {
            (ImageRef::Name(_), false) => "rbd_open",
            (ImageRef::Id(_), false) => "rbd_open_by_id",
            (ImageRef::Name(_), true) => "rbd_open_read_only",
            (ImageRef::Id(_), true) => "rbd_open_by_id_read_only",
        };
        let path = self.path(&image.to_string());
        let (pool, owned) = (self.clone(), OwnedRef::from(*image));
        let opened = self
            .cluster()
            .patience()
            .read_in_time(call, &path, move || {
                pool.image_open_now(&owned.borrow(), read_only)
            });
        opened.map_err(|error| self.explain_silence(error))
    }

    /// As [`Pool::image_open`], without a deadline.
    pub(crate) fn image_open_now(&self, image: &ImageRef<'_>, read_only: bool) -> Result<Image> {
        let (ImageRef::Id(text) | ImageRef::Name(text)) = *image;
        let reference = c_string("image", text)?;
        let (io, reference) = (self.raw(), reference.as_ptr());
        let mut raw = ptr::null_mut();
        let head = ptr::null();
        let rbd = self.rbd()?;
        // SAFETY: the ioctx is valid; `raw` gets the image; the reference is a C string; a null name of the
        // snapshot means the head.
        let (call, opened) = unsafe {
            match (image, read_only) {
                (ImageRef::Name(_), false) => {
                    ("rbd_open", rbd.rbd_open(io, reference, &mut raw, head))
                }
                (ImageRef::Id(_), false) => (
                    "rbd_open_by_id",
                    rbd.rbd_open_by_id(io, reference, &mut raw, head),
                ),
                (ImageRef::Name(_), true) => (
                    "rbd_open_read_only",
                    rbd.rbd_open_read_only(io, reference, &mut raw, head),
                ),
                (ImageRef::Id(_), true) => (
                    "rbd_open_by_id_read_only",
                    rbd.rbd_open_by_id_read_only(io, reference, &mut raw, head),
                ),
            }
        };
        let path = self.path(&image.to_string());
        check(call, || path.clone(), opened)?;
        Ok(Image(Arc::new(Open {
            pool: self.clone(),
            rbd,
            raw,
            path,
        })))
    }
}

/// As [`ImageRef`], for another thread.
pub(crate) enum OwnedRef {
    Id(String),
    Name(String),
}

impl From<ImageRef<'_>> for OwnedRef {
    fn from(image: ImageRef<'_>) -> Self {
        match image {
            ImageRef::Id(id) => Self::Id(id.to_owned()),
            ImageRef::Name(name) => Self::Name(name.to_owned()),
        }
    }
}

impl OwnedRef {
    pub(crate) fn borrow(&self) -> ImageRef<'_> {
        match self {
            Self::Id(id) => ImageRef::Id(id),
            Self::Name(name) => ImageRef::Name(name),
        }
    }
}

/// An open image, closed on drop; [`Image::close`] also returns whether that succeeded.
///
/// An abandoned call shares the image, and closes it when the call ends.
pub struct Image(Arc<Open>);

struct Open {
    pool: Pool,
    rbd: &'static Rbd,
    raw: rbd_image_t,
    path: String,
}

// SAFETY: librbd locks in an open image, and allows its use from several threads at once.
unsafe impl Send for Open {}
// SAFETY: as above. Setting a snapshot changes the data that other threads read, and so takes `&mut`.
unsafe impl Sync for Open {}

/// An open image whose last owner closes it.
struct Closing {
    /// The pool is closed after the image.
    _pool: Pool,
    rbd: &'static Rbd,
    raw: rbd_image_t,
}

// SAFETY: as for `Open`.
unsafe impl Send for Closing {}

impl Closing {
    fn close(self) -> i32 {
        // SAFETY: `raw` is open, and no other owner is left.
        unsafe { self.rbd.rbd_close(self.raw) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::warn!("{error}");
        }
    }
}

impl Open {
    /// Closes it, once.
    ///
    /// Implements: `int rbd_close(rbd_image_t image)`.
    fn close(&mut self) -> Result<()> {
        let raw = std::mem::replace(&mut self.raw, ptr::null_mut());
        if raw.is_null() {
            return Ok(());
        }
        let path = self.path.clone();
        let closing = Closing {
            _pool: self.pool.clone(),
            rbd: self.rbd,
            raw,
        };
        self.pool
            .cluster()
            .patience()
            .read_in_time("rbd_close", &self.path, move || {
                check("rbd_close", || path, closing.close()).map(|_| ())
            })
    }
}

impl Image {
    /// Closes the image and returns whether that succeeded. It is closed even if not.
    ///
    /// # Errors
    /// EBUSY if an abandoned call on it has not ended: that call closes it.
    pub fn close(self) -> Result<()> {
        match Arc::try_unwrap(self.0) {
            Ok(mut open) => open.close(),
            Err(open) => {
                let path = open.path.clone();
                check("rbd_close", || path, -(Errno::EBUSY as i32)).map(|_| ())
            }
        }
    }

    /// Returns the pool of the image.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Returns the image's id.
    ///
    /// Implements: `int rbd_get_id(rbd_image_t image, char *id, size_t id_len)`.
    pub fn id(&self) -> Result<String> {
        text_of_unknown_length(64, |buffer, length| {
            // SAFETY: the image is open; `buffer` is valid for `length` bytes.
            self.check("rbd_get_id", unsafe {
                self.rbd().rbd_get_id(self.raw(), buffer, length)
            })
        })
    }

    /// Returns the image's name.
    ///
    /// Implements: `int rbd_get_name(rbd_image_t image, char *name, size_t *name_len)`.
    pub fn name(&self) -> Result<String> {
        text_of_unknown_length(128, |buffer, mut length| {
            // SAFETY: the image is open; `buffer` is valid for `length` bytes.
            let got = unsafe { self.rbd().rbd_get_name(self.raw(), buffer, &mut length) };
            self.check("rbd_get_name", got)
        })
    }

    /// The image's pool and name (or id), for errors.
    pub(crate) fn path(&self) -> &str {
        &self.0.path
    }

    pub(crate) fn rbd(&self) -> &'static Rbd {
        self.0.rbd
    }

    /// The open image. It is never null: only the last owner closes it, which sets it to null.
    pub(crate) fn raw(&self) -> rbd_image_t {
        self.0.raw
    }

    /// As a clone, for a call on another thread. The last owner closes the image.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Makes a call on this image that changes nothing, by the deadline.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl FnOnce(&Image) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.share();
        let cluster = self.pool().cluster();
        let done = cluster
            .patience()
            .read_in_time(call, self.path(), move || work(&shared));
        done.map_err(|error| self.pool().explain_silence(error))
    }

    /// Checks a result of a call on this image.
    pub(crate) fn check<N>(&self, call: &'static str, result: N) -> Result<N>
    where
        N: Copy + Into<i64>,
    {
        check(call, || self.path().to_owned(), result)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
