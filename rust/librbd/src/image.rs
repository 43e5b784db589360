//! One image: opening it, and what an open one can tell and do.

use std::ffi::c_char;
use std::fmt;
use std::ptr;

use nix::errno::Errno;

use crate::buffer::{c_string, text_of_unknown_length};
use crate::error::{check, Error, Result};
use crate::ffi::rbd::{rbd_image_info_t, rbd_image_t, Rbd};
use crate::pool::Pool;
use crate::progress::{progress_data, trampoline, Progress};

/// Which image is meant. The id never changes and is never used again; a name may be both.
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

/// What an image's header says about its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Size in bytes (of the snapshot, where the image is read at one).
    pub size: u64,
    /// Size of an object in bytes.
    pub object_size: u64,
    /// `object_size` as a power of two.
    pub order: u8,
    /// How many objects the size takes.
    pub num_objects: u64,
    /// What the names of its data objects start with.
    pub block_name_prefix: String,
}

impl Pool {
    /// Opens an image, at its head. Read-only leaves no watch on it: what it tells may become stale
    /// and it cannot be changed.
    ///
    /// Implements: `int rbd_open(rados_ioctx_t io, const char *name, rbd_image_t *image, const
    /// char *snap_name)`, `int rbd_open_by_id(rados_ioctx_t io, const char *id, rbd_image_t *image,
    /// const char *snap_name)`, `int rbd_open_read_only(rados_ioctx_t io, const char *name,
    /// rbd_image_t *image, const char *snap_name)`, `int rbd_open_by_id_read_only(rados_ioctx_t io,
    /// const char *id, rbd_image_t *image, const char *snap_name)`.
    pub fn image_open(&self, image: &ImageRef<'_>, read_only: bool) -> Result<Image> {
        let (ImageRef::Id(text) | ImageRef::Name(text)) = *image;
        let reference = c_string("image", text)?;
        let (io, reference) = (self.raw(), reference.as_ptr());
        let mut raw = ptr::null_mut();
        let head = ptr::null();
        let rbd = self.rbd()?;
        // SAFETY: the ioctx is valid; `raw` is where the image goes; the reference is a C string;
        // no snapshot's name means the head.
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
        Ok(Image {
            pool: self.clone(),
            rbd,
            raw,
            path,
        })
    }
}

/// An open image, closed on drop; [`Image::close`] also says whether that went well.
pub struct Image {
    pool: Pool,
    rbd: &'static Rbd,
    raw: rbd_image_t,
    path: String,
}

// SAFETY: librbd locks inside an open image; it is made to be used from several threads at once.
unsafe impl Send for Image {}
// SAFETY: as above. Choosing a snapshot changes what other threads read, and so takes `&mut`.
unsafe impl Sync for Image {}

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(error) = self.close_raw() {
            log::warn!("{error}");
        }
    }
}

impl Image {
    /// Closes the image and says whether that went well. It is closed even where it did not.
    ///
    /// Implements: `int rbd_close(rbd_image_t image)`.
    pub fn close(mut self) -> Result<()> {
        self.close_raw()
    }

    fn close_raw(&mut self) -> Result<()> {
        let raw = std::mem::replace(&mut self.raw, ptr::null_mut());
        if raw.is_null() {
            return Ok(());
        }
        // SAFETY: `raw` was open, and nobody has it any more.
        let closed = unsafe { self.rbd().rbd_close(raw) };
        check("rbd_close", || self.path.clone(), closed).map(|_| ())
    }

    /// The pool the image is in.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The image's pool and name (or id), for errors.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn rbd(&self) -> &'static Rbd {
        self.rbd
    }

    /// The open image: never null, as only closing, which takes the image, makes it so.
    pub(crate) fn raw(&self) -> rbd_image_t {
        self.raw
    }

    /// Checks a result of a call on this image.
    pub(crate) fn check<N>(&self, call: &'static str, result: N) -> Result<N>
    where
        N: Copy + Into<i64>,
    {
        check(call, || self.path.clone(), result)
    }

    /// The image's id.
    ///
    /// Implements: `int rbd_get_id(rbd_image_t image, char *id, size_t id_len)`.
    pub fn id(&self) -> Result<String> {
        text_of_unknown_length(64, |buffer, length| {
            // SAFETY: the image is open; `buffer` is valid for `length` bytes.
            self.check("rbd_get_id", unsafe {
                self.rbd().rbd_get_id(self.raw, buffer, length)
            })
        })
    }

    /// The image's name.
    ///
    /// Implements: `int rbd_get_name(rbd_image_t image, char *name, size_t *name_len)`.
    pub fn name(&self) -> Result<String> {
        text_of_unknown_length(128, |buffer, mut length| {
            // SAFETY: the image is open; `buffer` is valid for `length` bytes.
            let got = unsafe { self.rbd().rbd_get_name(self.raw, buffer, &mut length) };
            self.check("rbd_get_name", got)
        })
    }

    /// The size in bytes (of the snapshot, where the image is read at one).
    ///
    /// Implements: `int rbd_get_size(rbd_image_t image, uint64_t *size)`.
    pub fn size(&self) -> Result<u64> {
        let mut size = 0;
        // SAFETY: the image is open; `size` is valid for writing.
        self.check("rbd_get_size", unsafe {
            self.rbd().rbd_get_size(self.raw, &mut size)
        })?;
        Ok(size)
    }

    /// The feature bits (`RBD_FEATURE_*`).
    ///
    /// Implements: `int rbd_get_features(rbd_image_t image, uint64_t *features)`.
    pub fn features(&self) -> Result<u64> {
        let mut bits = 0;
        // SAFETY: the image is open; `bits` is valid for writing.
        let got = unsafe { self.rbd().rbd_get_features(self.raw, &mut bits) };
        self.check("rbd_get_features", got)?;
        Ok(bits)
    }

    /// The operation feature bits (`RBD_OPERATION_FEATURE_*`), such as clone parent or child.
    ///
    /// Implements: `int rbd_get_op_features(rbd_image_t image, uint64_t *op_features)`.
    pub fn op_features(&self) -> Result<u64> {
        let mut bits = 0;
        // SAFETY: the image is open; `bits` is valid for writing.
        let got = unsafe { self.rbd().rbd_get_op_features(self.raw, &mut bits) };
        self.check("rbd_get_op_features", got)?;
        Ok(bits)
    }

    /// Size and layout.
    ///
    /// Implements: `int rbd_stat(rbd_image_t image, rbd_image_info_t *info, size_t infosize)`, `int
    /// rbd_get_block_name_prefix(rbd_image_t image, char *prefix, size_t prefix_len)`.
    pub fn info(&self) -> Result<ImageInfo> {
        let mut info = std::mem::MaybeUninit::<rbd_image_info_t>::zeroed();
        // SAFETY: the image is open; `info` is as large as is said.
        let got = unsafe {
            let size = std::mem::size_of::<rbd_image_info_t>();
            self.rbd().rbd_stat(self.raw, info.as_mut_ptr(), size)
        };
        self.check("rbd_stat", got)?;
        // SAFETY: all of it is numbers, for which zero is valid, too.
        let info = unsafe { info.assume_init() };
        // The prefix in `info` is cut off where the id is long.
        let block_name_prefix = text_of_unknown_length(64, |buffer, length| {
            // SAFETY: the image is open; `buffer` is valid for `length` bytes.
            let got = unsafe {
                self.rbd()
                    .rbd_get_block_name_prefix(self.raw, buffer, length)
            };
            self.check("rbd_get_block_name_prefix", got)
        })?;
        Ok(ImageInfo {
            size: info.size,
            object_size: info.obj_size,
            order: u8::try_from(info.order).unwrap_or_default(),
            num_objects: info.num_objs,
            block_name_prefix,
        })
    }

    /// Changes the size to `size` bytes. Data beyond it is lost, and its objects are removed before
    /// this returns; `progress` hears how many of them were gone through.
    ///
    /// # Errors
    /// EINVAL for a smaller size without `allow_shrink`.
    ///
    /// Implements: `int rbd_resize2(rbd_image_t image, uint64_t size, bool allow_shrink,
    /// librbd_progress_fn_t cb, void *cbdata)`.
    pub fn resize(&self, size: u64, allow_shrink: bool, progress: Progress<'_>) -> Result<()> {
        // SAFETY: the image is open; the progress outlives the call.
        let done = unsafe {
            let data = progress_data(&progress);
            self.rbd()
                .rbd_resize2(self.raw, size, allow_shrink, trampoline, data)
        };
        self.check("rbd_resize2", done).map(|_| ())
    }

    /// Reads into `buffer` from `offset`; gives the number of bytes read, fewer at the image's end.
    ///
    /// Implements: `ssize_t rbd_read(rbd_image_t image, uint64_t ofs, size_t len, char *buf)`.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let (data, length) = (buffer.as_mut_ptr().cast::<c_char>(), buffer.len());
        // SAFETY: the image is open; `data` is valid for `length` bytes.
        let read = unsafe { self.rbd().rbd_read(self.raw, offset, length, data) };
        let read = self.check("rbd_read", read as i64)?;
        Ok(usize::try_from(read).unwrap_or_default())
    }

    /// Writes all of `data` at `offset`. When this returns, it is in the cluster.
    ///
    /// # Errors
    /// EINVAL where `data` reaches beyond the image's end (what fits was written); EROFS where the
    /// image is open read-only or read at a snapshot.
    ///
    /// Implements: `ssize_t rbd_write(rbd_image_t image, uint64_t ofs, size_t len, const char
    /// *buf)`, `int rbd_flush(rbd_image_t image)`.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let buffer = data.as_ptr().cast();
        // SAFETY: the image is open; `data` is as long as is said.
        let written = unsafe { self.rbd().rbd_write(self.raw, offset, data.len(), buffer) };
        let written = self.check("rbd_write", written as i64)?;
        if usize::try_from(written) != Ok(data.len()) {
            return Err(Error::Call {
                call: "rbd_write",
                object: self.path.clone(),
                errno: Errno::EINVAL as i32,
                detail: Some(format!(
                    "only {written} of {} bytes are within it",
                    data.len()
                )),
            });
        }
        // SAFETY: the image is open.
        self.check("rbd_flush", unsafe { self.rbd().rbd_flush(self.raw) })
            .map(|_| ())
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
