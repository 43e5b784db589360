//! The properties and the data of an open image.

use std::ffi::c_char;

use nix::errno::Errno;

use crate::buffer::text_of_unknown_length;
use crate::error::{Error, Result};
use crate::ffi::rbd::rbd_image_info_t;
use crate::image::Image;
use crate::progress::{trampoline, Progress};

/// The layout of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Size in bytes (of the snapshot, if one is set).
    pub size: u64,
    /// Size of an object in bytes.
    pub object_size: u64,
    /// `object_size` as a power of two.
    pub order: u8,
    /// The number of objects for that size.
    pub num_objects: u64,
    /// The prefix of the names of its data objects.
    pub block_name_prefix: String,
}

impl Image {
    /// Returns the size in bytes (of the snapshot, if one is set).
    ///
    /// Implements: `int rbd_get_size(rbd_image_t image, uint64_t *size)`.
    pub fn size(&self) -> Result<u64> {
        self.read("rbd_get_size", |image| {
            let mut size = 0;
            // SAFETY: the image is open; `size` is valid for writing.
            image.check("rbd_get_size", unsafe {
                image.rbd().rbd_get_size(image.raw(), &mut size)
            })?;
            Ok(size)
        })
    }

    /// Returns the feature bits (`RBD_FEATURE_*`).
    ///
    /// Implements: `int rbd_get_features(rbd_image_t image, uint64_t *features)`.
    pub fn features(&self) -> Result<u64> {
        self.read("rbd_get_features", Image::features_now)
    }

    /// As [`Image::features`], without a deadline.
    pub(crate) fn features_now(&self) -> Result<u64> {
        let mut bits = 0;
        // SAFETY: the image is open; `bits` is valid for writing.
        let got = unsafe { self.rbd().rbd_get_features(self.raw(), &mut bits) };
        self.check("rbd_get_features", got)?;
        Ok(bits)
    }

    /// Returns the operation feature bits (`RBD_OPERATION_FEATURE_*`), such as clone parent or child.
    ///
    /// Implements: `int rbd_get_op_features(rbd_image_t image, uint64_t *op_features)`.
    pub fn op_features(&self) -> Result<u64> {
        self.read("rbd_get_op_features", |image| {
            let mut bits = 0;
            // SAFETY: the image is open; `bits` is valid for writing.
            let got = unsafe { image.rbd().rbd_get_op_features(image.raw(), &mut bits) };
            image.check("rbd_get_op_features", got)?;
            Ok(bits)
        })
    }

    /// Returns size and layout.
    ///
    /// Implements: `int rbd_stat(rbd_image_t image, rbd_image_info_t *info, size_t infosize)`, `int
    /// rbd_get_block_name_prefix(rbd_image_t image, char *prefix, size_t prefix_len)`.
    pub fn info(&self) -> Result<ImageInfo> {
        self.read("rbd_stat", Image::info_now)
    }

    fn info_now(&self) -> Result<ImageInfo> {
        let mut info = std::mem::MaybeUninit::<rbd_image_info_t>::zeroed();
        // SAFETY: the image is open; `info` has the given size.
        let got = unsafe {
            let size = std::mem::size_of::<rbd_image_info_t>();
            self.rbd().rbd_stat(self.raw(), info.as_mut_ptr(), size)
        };
        self.check("rbd_stat", got)?;
        // SAFETY: it has only numbers, for which zero is valid.
        let info = unsafe { info.assume_init() };
        // The prefix in `info` is cut if the id is long.
        let block_name_prefix = text_of_unknown_length(64, |buffer, length| {
            // SAFETY: the image is open; `buffer` is valid for `length` bytes.
            let got = unsafe {
                self.rbd()
                    .rbd_get_block_name_prefix(self.raw(), buffer, length)
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

    /// Changes the size to `size` bytes. Data beyond it is lost: its objects are removed before this returns.
    /// `progress` gets the number of processed objects.
    ///
    /// # Errors
    /// EINVAL for a smaller size without `allow_shrink`.
    ///
    /// Implements: `int rbd_resize2(rbd_image_t image, uint64_t size, bool allow_shrink,
    /// librbd_progress_fn_t cb, void *cbdata)`.
    pub fn resize(&self, size: u64, allow_shrink: bool, progress: Progress<'_>) -> Result<()> {
        self.long_change("rbd_resize2", progress, move |image, beats| {
            // SAFETY: the image is open; the beats outlive the call.
            let done = unsafe {
                let rbd = image.rbd();
                rbd.rbd_resize2(image.raw(), size, allow_shrink, trampoline, beats.data())
            };
            image.check("rbd_resize2", done).map(|_| ())
        })
    }

    /// Reads into `buffer` from `offset`. Returns the number of bytes, which is smaller at the image's end.
    ///
    /// Implements: `ssize_t rbd_read(rbd_image_t image, uint64_t ofs, size_t len, char *buf)`.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let length = buffer.len();
        let data = self.read("rbd_read", move |image| {
            let mut data = vec![0_u8; length];
            let pointer = data.as_mut_ptr().cast::<c_char>();
            // SAFETY: the image is open; `data` is valid for `length` bytes.
            let read = unsafe { image.rbd().rbd_read(image.raw(), offset, length, pointer) };
            let read = image.check("rbd_read", read as i64)?;
            data.truncate(usize::try_from(read).unwrap_or_default());
            Ok(data)
        })?;
        buffer[..data.len()].copy_from_slice(&data);
        Ok(data.len())
    }

    /// Writes all of `data` at `offset`, and flushes it to the cluster.
    ///
    /// # Errors
    /// EINVAL if `data` reaches beyond the image's end (the first part was written); EROFS if the image is
    /// open read-only or a snapshot is set.
    ///
    /// Implements: `ssize_t rbd_write(rbd_image_t image, uint64_t ofs, size_t len, const char
    /// *buf)`, `int rbd_flush(rbd_image_t image)`.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let data = data.to_vec();
        self.change("rbd_write", move |image| image.write_now(offset, &data))
    }

    /// Discards the `length` bytes at `offset`: they read as zeros, and what they take is freed if it is a whole
    /// number of objects. Flushes it to the cluster.
    ///
    /// # Errors
    /// As [`Image::write_at`].
    ///
    /// Implements: `int rbd_discard(rbd_image_t image, uint64_t ofs, uint64_t len)`.
    pub fn discard(&self, offset: u64, length: u64) -> Result<()> {
        self.change("rbd_discard", move |image| {
            // SAFETY: the image is open.
            let discarded = unsafe { image.rbd().rbd_discard(image.raw(), offset, length) };
            image.check("rbd_discard", discarded)?;
            image.flush_now()
        })
    }

    fn flush_now(&self) -> Result<()> {
        // SAFETY: the image is open.
        self.check("rbd_flush", unsafe { self.rbd().rbd_flush(self.raw()) })
            .map(|_| ())
    }

    fn write_now(&self, offset: u64, data: &[u8]) -> Result<()> {
        let buffer = data.as_ptr().cast();
        // SAFETY: the image is open; `data` has the given length.
        let written = unsafe { self.rbd().rbd_write(self.raw(), offset, data.len(), buffer) };
        let written = self.check("rbd_write", written as i64)?;
        if usize::try_from(written) != Ok(data.len()) {
            return Err(Error::Call {
                call: "rbd_write",
                object: self.path().to_owned(),
                errno: Errno::EINVAL as i32,
                detail: Some(format!(
                    "only {written} of {} bytes are within the image",
                    data.len()
                )),
            });
        }
        self.flush_now()
    }
}
