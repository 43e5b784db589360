//! Creates and lists the images of a pool.

use std::ffi::c_int;
use std::ptr;

use crate::buffer::{c_string, copy_text, list};
use crate::error::{check, Result};
use crate::ffi::rbd::{
    rbd_image_options_t, rbd_image_spec_t, Rbd, RBD_IMAGE_OPTION_CLONE_FORMAT,
    RBD_IMAGE_OPTION_DATA_POOL, RBD_IMAGE_OPTION_FEATURES, RBD_IMAGE_OPTION_FORMAT,
    RBD_IMAGE_OPTION_JOURNAL_ORDER, RBD_IMAGE_OPTION_JOURNAL_POOL,
    RBD_IMAGE_OPTION_JOURNAL_SPLAY_WIDTH, RBD_IMAGE_OPTION_ORDER, RBD_IMAGE_OPTION_STRIPE_COUNT,
    RBD_IMAGE_OPTION_STRIPE_UNIT,
};
use crate::pool::Pool;

/// The size of objects by default.
const OBJECT_SIZE: u64 = 4 << 20;

/// `RBD_FEATURE_JOURNALING`, and the values of a journal that librbd uses by default.
const JOURNALING: u64 = 1 << 6;
const JOURNAL_ORDER: u64 = 24;
const JOURNAL_SPLAY_WIDTH: u64 = 4;

/// The options of a new image. They override all defaults: those of `ceph config set`, of
/// `rbd config pool set`, of the configuration file and of `CEPH_ARGS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Feature bits (`RBD_FEATURE_*`), exactly these; `data-pool` is added if the image has a data pool.
    pub features: u64,
    /// The size of an object in bytes, a power of two; 0 means 4 MiB.
    pub object_size: u64,
    /// The unit in bytes, and the count, of stripes. `None`: one object after the other.
    pub stripes: Option<(u64, u64)>,
    /// The pool for the data, if it is not the image's pool.
    pub data_pool: Option<String>,
}

/// An image in a pool's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageEntry {
    /// The image's name.
    pub name: String,
    /// The image's id.
    pub id: String,
}

/// librbd's options of a new image, freed on drop.
pub(crate) struct RawOptions {
    rbd: &'static Rbd,
    pub(crate) raw: rbd_image_options_t,
}

impl RawOptions {
    /// Implements: `void rbd_image_options_create(rbd_image_options_t* opts)`.
    pub(crate) fn new(pool: &Pool, options: &CreateOptions) -> Result<Self> {
        let rbd = pool.rbd()?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` gets the options.
        unsafe { rbd.rbd_image_options_create(&mut raw) };
        let made = Self { rbd, raw };
        made.set_number(RBD_IMAGE_OPTION_FORMAT, 2)?;
        made.set_number(RBD_IMAGE_OPTION_FEATURES, options.features)?;
        let object_size = match options.object_size {
            0 => OBJECT_SIZE,
            size => size,
        };
        made.set_number(RBD_IMAGE_OPTION_ORDER, object_size.trailing_zeros().into())?;
        // These values mean no striping.
        let (unit, count) = options.stripes.unwrap_or((object_size, 1));
        made.set_number(RBD_IMAGE_OPTION_STRIPE_UNIT, unit)?;
        made.set_number(RBD_IMAGE_OPTION_STRIPE_COUNT, count)?;
        // An empty name means the default. The image's pool means no data pool.
        let data_pool = options.data_pool.as_deref().unwrap_or(pool.name());
        made.set_text(RBD_IMAGE_OPTION_DATA_POOL, data_pool)?;
        if options.features & JOURNALING != 0 {
            made.set_number(RBD_IMAGE_OPTION_JOURNAL_ORDER, JOURNAL_ORDER)?;
            made.set_number(RBD_IMAGE_OPTION_JOURNAL_SPLAY_WIDTH, JOURNAL_SPLAY_WIDTH)?;
            made.set_text(RBD_IMAGE_OPTION_JOURNAL_POOL, pool.name())?;
        }
        Ok(made)
    }

    /// Sets clone format 2, which overrides the cluster's default: the parent's snapshot need not be
    /// protected, and can be removed while the clone exists.
    pub(crate) fn set_clone_format_2(&self) -> Result<()> {
        self.set_number(RBD_IMAGE_OPTION_CLONE_FORMAT, 2)
    }

    /// Implements: `int rbd_image_options_set_uint64(rbd_image_options_t opts, int optname,
    /// uint64_t optval)`.
    fn set_number(&self, option: c_int, value: u64) -> Result<()> {
        // SAFETY: the options are valid.
        let set = unsafe {
            self.rbd
                .rbd_image_options_set_uint64(self.raw, option, value)
        };
        check(
            "rbd_image_options_set_uint64",
            || format!("image option {option}"),
            set,
        )
        .map(|_| ())
    }

    /// Implements: `int rbd_image_options_set_string(rbd_image_options_t opts, int optname, const
    /// char* optval)`.
    fn set_text(&self, option: c_int, value: &str) -> Result<()> {
        let text = c_string("data pool", value)?;
        // SAFETY: the options are valid and copy the string.
        let set = unsafe {
            self.rbd
                .rbd_image_options_set_string(self.raw, option, text.as_ptr())
        };
        check(
            "rbd_image_options_set_string",
            || format!("image option {option}"),
            set,
        )
        .map(|_| ())
    }
}

impl Drop for RawOptions {
    /// Implements: `void rbd_image_options_destroy(rbd_image_options_t opts)`.
    fn drop(&mut self) {
        // SAFETY: valid, and destroyed once.
        unsafe { self.rbd.rbd_image_options_destroy(self.raw) };
    }
}

/// The object with the names and ids of a pool's images, which class `rbd` writes.
const DIRECTORY: &str = "rbd_directory";

impl Pool {
    /// Creates an image of `size` bytes.
    ///
    /// # Errors
    /// [`Error::is_already_there`](crate::Error::is_already_there) if an image has the name.
    ///
    /// Implements: `int rbd_create4(rados_ioctx_t io, const char *name, uint64_t size,
    /// rbd_image_options_t opts)`.
    pub fn image_create(&self, name: &str, size: u64, options: &CreateOptions) -> Result<()> {
        let (pool, path, options) = (self.clone(), self.path(name), options.clone());
        let c_name = c_string("image name", name)?;
        let made = self
            .cluster()
            .patience()
            .change_in_time("rbd_create4", &path, {
                let path = path.clone();
                move || {
                    let options = RawOptions::new(&pool, &options)?;
                    let (rbd, io, name) = (pool.rbd()?, pool.raw(), c_name.as_ptr());
                    // SAFETY: ioctx and options are valid; the name is a C string.
                    let made = unsafe { rbd.rbd_create4(io, name, size, options.raw) };
                    check("rbd_create4", || path, made).map(|_| ())
                }
            });
        made.map_err(|error| self.explain_silence(error))
    }

    /// Returns the name of the image with that id; `None` if it does not exist or is in the trash. Opens no
    /// image.
    ///
    /// No C function does only this. `rbd_get_name` reads the same value, the key `id_<id>` in the omap of
    /// `rbd_directory`: a length (`u32`, little-endian) and that many bytes.
    pub fn image_name(&self, id: &str) -> Result<Option<String>> {
        let key = format!("id_{id}");
        let mut entries = match self.omap_get(DIRECTORY, &[&key]) {
            Err(error) if error.is_not_found() => return Ok(None), // the pool has no images
            other => other?,
        };
        Ok(entries.remove(&key).map(|value| {
            let text = value.get(size_of::<u32>()..).unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        }))
    }

    /// Returns every image of the pool (of its namespace) that is not in the trash.
    ///
    /// Implements: `int rbd_list2(rados_ioctx_t io, rbd_image_spec_t* images, size_t *max_images)`;
    /// the strings are freed with `void rbd_image_spec_list_cleanup(rbd_image_spec_t *images,
    /// size_t num_images)`.
    pub fn image_list(&self) -> Result<Vec<ImageEntry>> {
        self.list_in_time("rbd_list2", DIRECTORY, Self::image_list_now)
    }

    fn image_list_now(&self) -> Result<Vec<ImageEntry>> {
        /// With fewer, librbd lists a larger pool twice: it counts the images by listing them.
        const CAPACITY: usize = 16_384;
        let rbd = self.rbd()?;
        // SAFETY: the ioctx is valid; rbd_list2 fills as `list` requires, with C strings that
        // rbd_image_spec_list_cleanup frees.
        unsafe {
            list(
                CAPACITY,
                |specs, count| {
                    let listed = rbd.rbd_list2(self.raw(), specs, count);
                    check("rbd_list2", || self.path(DIRECTORY), listed)
                },
                |spec: &rbd_image_spec_t| ImageEntry {
                    name: copy_text(spec.name),
                    id: copy_text(spec.id),
                },
                |specs, count| rbd.rbd_image_spec_list_cleanup(specs, count),
            )
        }
    }
}
