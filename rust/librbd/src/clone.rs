//! Creates clones, and reads the links between children and parents.

use std::mem::MaybeUninit;

use nix::errno::Errno;

use crate::buffer::{c_string, copy_text, list};
use crate::error::{check, Error, Result};
use crate::ffi::rbd::{rbd_linked_image_spec_t, rbd_snap_spec_t};
use crate::image::{Image, ImageRef};
use crate::images::{CreateOptions, RawOptions};
use crate::pool::Pool;
use crate::progress::{trampoline, Progress};
use crate::snapshot::{SnapId, SnapshotRef};

/// An image at the other end of a clone's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedImage {
    /// Its pool's number.
    pub pool_id: i64,
    /// Its pool's name.
    pub pool_name: String,
    /// Its RADOS namespace; empty for the default one.
    pub namespace: String,
    /// Its id.
    pub image_id: String,
    /// Its name.
    pub image_name: String,
    /// It is in the trash.
    pub in_trash: bool,
}

/// The parent of a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The image.
    pub image: LinkedImage,
    /// The snapshot's number.
    pub snap_id: SnapId,
    /// The snapshot's name; for one in the trash, a generated one.
    pub snap_name: String,
}

impl Pool {
    /// Creates a clone of a snapshot of an image in this pool. It has format 2: the snapshot need not be
    /// protected.
    ///
    /// librbd needs names. For each id, one request gets the name first.
    ///
    /// # Errors
    /// [`Error::is_already_there`](crate::Error::is_already_there) if an image has the name;
    /// [`Error::is_not_found`](crate::Error::is_not_found) if there is no such parent.
    ///
    /// Implements: `int rbd_clone3(rados_ioctx_t p_ioctx, const char *p_name, const
    /// char *p_snapname, rados_ioctx_t c_ioctx, const char *c_name, rbd_image_options_t c_opts)`.
    pub fn image_clone(
        &self,
        parent: &ImageRef<'_>,
        snapshot: &SnapshotRef<'_>,
        child_name: &str,
        options: &CreateOptions,
    ) -> Result<()> {
        self.image_clone_from(self, parent, snapshot, child_name, options)
    }

    /// As [`Pool::image_clone`], of an image in the pool `source`, which is on the same connection.
    pub fn image_clone_from(
        &self,
        source: &Pool,
        parent: &ImageRef<'_>,
        snapshot: &SnapshotRef<'_>,
        child_name: &str,
        options: &CreateOptions,
    ) -> Result<()> {
        let (parent_name, snap_name) = source.clone_source(parent, snapshot)?;
        let c_parent = c_string("parent image", &parent_name)?;
        let c_snap = c_string("snapshot name", &snap_name)?;
        let c_child = c_string("image name", child_name)?;
        let parent = source.path(&parent_name);
        let object = format!(
            "{} (a clone of {parent}@{snap_name})",
            self.path(child_name)
        );
        let (source, pool, options) = (source.clone(), self.clone(), options.clone());
        let made = self
            .cluster()
            .patience()
            .change_in_time("rbd_clone3", &object, {
                let object = object.clone();
                move || {
                    let options = RawOptions::new(&pool, &options)?;
                    options.set_clone_format_2()?;
                    let rbd = pool.rbd()?;
                    // SAFETY: both ioctxs and the options are valid; the names are C strings.
                    let made = unsafe {
                        rbd.rbd_clone3(
                            source.raw(),
                            c_parent.as_ptr(),
                            c_snap.as_ptr(),
                            pool.raw(),
                            c_child.as_ptr(),
                            options.raw,
                        )
                    };
                    check("rbd_clone3", || object, made).map(|_| ())
                }
            });
        made.map_err(|error| self.explain_silence(error))
    }

    fn clone_source(
        &self,
        parent: &ImageRef<'_>,
        snapshot: &SnapshotRef<'_>,
    ) -> Result<(String, String)> {
        let missing = || Error::Call {
            call: "rbd_clone3",
            object: self.path(&parent.to_string()),
            errno: Errno::ENOENT as i32,
            detail: Some("the pool has no image with that id or name".to_owned()),
        };
        let image_name = match parent {
            ImageRef::Name(name) => (*name).to_owned(),
            ImageRef::Id(id) => self.image_name(id)?.ok_or_else(missing)?,
        };
        let snap_name = match (snapshot, parent) {
            (SnapshotRef::Name(name), _) => (*name).to_owned(),
            (SnapshotRef::Id(snap), ImageRef::Id(id)) => self.header(id).snapshot_name(*snap)?,
            (SnapshotRef::Id(snap), ImageRef::Name(name)) => {
                let id = self.image_id(name)?.ok_or_else(missing)?;
                self.header(&id).snapshot_name(*snap)?
            }
        };
        Ok((image_name, snap_name))
    }
}

impl Image {
    /// Returns the parent of the image, or of its snapshot if one is set; `None` if it is no clone.
    ///
    /// Implements: `int rbd_get_parent(rbd_image_t image, rbd_linked_image_spec_t *parent_image,
    /// rbd_snap_spec_t *parent_snap)`; the strings are freed with `void
    /// rbd_linked_image_spec_cleanup(rbd_linked_image_spec_t *image)` and `void
    /// rbd_snap_spec_cleanup(rbd_snap_spec_t *snap)`.
    pub fn parent(&self) -> Result<Option<Parent>> {
        self.read("rbd_get_parent", Self::parent_now)
    }

    fn parent_now(&self) -> Result<Option<Parent>> {
        let mut image = MaybeUninit::<rbd_linked_image_spec_t>::zeroed();
        let mut snap = MaybeUninit::<rbd_snap_spec_t>::zeroed();
        // SAFETY: the image is open; both are valid for writing.
        let got = unsafe {
            self.rbd()
                .rbd_get_parent(self.raw(), image.as_mut_ptr(), snap.as_mut_ptr())
        };
        match self.check("rbd_get_parent", got) {
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        // SAFETY: both were filled; the strings are copied before they are freed, once.
        Ok(Some(unsafe {
            let parent = Parent {
                image: linked(image.assume_init_ref()),
                snap_id: SnapId(snap.assume_init_ref().id),
                snap_name: copy_text(snap.assume_init_ref().name),
            };
            self.rbd().rbd_linked_image_spec_cleanup(image.as_mut_ptr());
            self.rbd().rbd_snap_spec_cleanup(snap.as_mut_ptr());
            parent
        }))
    }

    /// Returns the clones of the snapshot that is set, or at the head those of all snapshots, also clones in
    /// the trash.
    ///
    /// Implements: `int rbd_list_children3(rbd_image_t image, rbd_linked_image_spec_t *images,
    /// size_t *max_images)`; the strings are freed with `void
    /// rbd_linked_image_spec_list_cleanup(rbd_linked_image_spec_t *images, size_t num_images)`.
    pub fn children(&self) -> Result<Vec<LinkedImage>> {
        self.read("rbd_list_children3", Self::children_now)
    }

    fn children_now(&self) -> Result<Vec<LinkedImage>> {
        let rbd = self.rbd();
        // SAFETY: the image is open; rbd_list_children3 fills as `list` requires, with C strings
        // that rbd_linked_image_spec_list_cleanup frees.
        unsafe {
            list(
                64,
                |specs, count| {
                    let listed = rbd.rbd_list_children3(self.raw(), specs, count);
                    self.check("rbd_list_children3", listed)
                },
                |spec| linked(spec),
                |specs, count| rbd.rbd_linked_image_spec_list_cleanup(specs, count),
            )
        }
    }

    /// Copies the parent's data into the image, and removes the link to the parent. The time depends on the
    /// amount of data; `progress` gets the number of processed objects. The snapshots keep the parent, unless
    /// the image has the feature deep-flatten.
    ///
    /// # Errors
    /// EINVAL if the image is no clone.
    ///
    /// Implements: `int rbd_flatten_with_progress(rbd_image_t image, librbd_progress_fn_t cb, void
    /// *cbdata)`.
    pub fn flatten(&self, progress: Progress<'_>) -> Result<()> {
        const CALL: &str = "rbd_flatten_with_progress";
        self.long_change(CALL, progress, |image, beats| {
            let (rbd, data) = (image.rbd(), beats.data());
            // SAFETY: the image is open; the beats outlive the call.
            let done = unsafe { rbd.rbd_flatten_with_progress(image.raw(), trampoline, data) };
            image.check(CALL, done).map(|_| ())
        })
    }
}

/// # Safety
/// The strings of `spec` are null or C strings.
unsafe fn linked(spec: &rbd_linked_image_spec_t) -> LinkedImage {
    LinkedImage {
        pool_id: spec.pool_id,
        pool_name: copy_text(spec.pool_name),
        namespace: copy_text(spec.pool_namespace),
        image_id: copy_text(spec.image_id),
        image_name: copy_text(spec.image_name),
        in_trash: spec.trash,
    }
}
