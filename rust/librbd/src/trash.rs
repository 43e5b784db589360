//! The pool's trash: images that users have deleted and that the cluster still has.

use crate::buffer::{c_string, copy_text, list};
use crate::error::{check, Result};
use crate::ffi::rbd::rbd_trash_image_info_t;
use crate::image::ImageRef;
use crate::pool::Pool;
use crate::progress::{trampoline, Progress};

/// The object that lists the trash.
const TRASH_OBJECT: &str = "rbd_trash";

/// An image in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashEntry {
    /// Its id.
    pub id: String,
    /// Its former name.
    pub name: String,
    /// What moved it to the trash.
    pub source: TrashSource,
    /// When it was moved there, in seconds since 1970.
    pub deleted_at: i64,
    /// The first time at which it can be removed without `force`, in seconds since 1970.
    pub deferment_end: i64,
}

/// What moved an image to the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrashSource {
    /// A user: it can be restored.
    User,
    /// rbd-mirror.
    Mirroring,
    /// A migration between pools.
    Migration,
    /// A removal that runs or was interrupted.
    Removing,
    /// A user, with clones left that depend on it.
    UserParent,
    /// Any other source, by its number in librbd.
    Other(i32),
}

impl TrashSource {
    fn from_number(number: i32) -> Self {
        match number {
            0 => Self::User,
            1 => Self::Mirroring,
            2 => Self::Migration,
            3 => Self::Removing,
            4 => Self::UserParent,
            other => Self::Other(other),
        }
    }
}

impl Pool {
    /// Creates the object that lists the trash if it is missing. librbd creates it when it is first needed,
    /// which fails on a full pool with a misleading ENOENT, so that no image could be deleted.
    pub fn ensure_trash_object(&self) -> Result<()> {
        match self.create_object(TRASH_OBJECT) {
            Err(error) if error.is_already_there() => Ok(()),
            other => other,
        }
    }

    /// Moves an image to the trash, for at least `delay` seconds. Its clones still work; its snapshots can no
    /// longer be cloned or mapped.
    ///
    /// # Errors
    /// EBUSY if a lock was set on it by hand.
    ///
    /// Implements: `int rbd_trash_move(rados_ioctx_t io, const char *name, uint64_t delay)`.
    pub fn trash_move(&self, name: &str, delay: u64) -> Result<()> {
        let (pool, path) = (self.clone(), self.path(name));
        let c_name = c_string("image name", name)?;
        let moved = self
            .cluster()
            .patience()
            .change_in_time("rbd_trash_move", &path, {
                let (path, owned) = (path.clone(), name.to_owned());
                move || {
                    pool.refuse_if_locked("rbd_trash_move", &owned)?;
                    let (rbd, name) = (pool.rbd()?, c_name.as_ptr());
                    // SAFETY: the ioctx is valid; the name is a C string.
                    let moved = unsafe { rbd.rbd_trash_move(pool.raw(), name, delay) };
                    check("rbd_trash_move", || path, moved).map(|_| ())
                }
            });
        moved.map_err(|error| self.explain(&ImageRef::Name(name), error))
    }

    /// Returns the images in the trash.
    ///
    /// Implements: `int rbd_trash_list(rados_ioctx_t io, rbd_trash_image_info_t *trash_entries,
    /// size_t *num_entries)`; the strings are freed with `void
    /// rbd_trash_list_cleanup(rbd_trash_image_info_t *trash_entries, size_t num_entries)`.
    pub fn trash_list(&self) -> Result<Vec<TrashEntry>> {
        self.list_in_time("rbd_trash_list", TRASH_OBJECT, Self::trash_list_now)
    }

    fn trash_list_now(&self) -> Result<Vec<TrashEntry>> {
        let rbd = self.rbd()?;
        // SAFETY: the ioctx is valid; rbd_trash_list fills as `list` requires, with C strings that
        // rbd_trash_list_cleanup frees.
        unsafe {
            list(
                256,
                |infos, count| {
                    let listed = rbd.rbd_trash_list(self.raw(), infos, count);
                    check("rbd_trash_list", || self.path(TRASH_OBJECT), listed)
                },
                |info: &rbd_trash_image_info_t| TrashEntry {
                    id: copy_text(info.id),
                    name: copy_text(info.name),
                    source: TrashSource::from_number(info.source),
                    deleted_at: info.deletion_time,
                    deferment_end: info.deferment_end_time,
                },
                |infos, count| rbd.rbd_trash_list_cleanup(infos, count),
            )
        }
    }

    /// Removes an image in the trash with its data. The time depends on its size, or with an object map on its
    /// data. `force` removes it before its deferment ends. `progress` gets the number of processed objects.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found) if it is not in the trash; EPERM before its
    /// deferment ends; ENOTEMPTY if it has snapshots; EBUSY if a client has it open.
    ///
    /// Implements: `int rbd_trash_remove_with_progress(rados_ioctx_t io, const char *id, bool
    /// force, librbd_progress_fn_t cb, void *cbdata)`.
    pub fn trash_remove(&self, id: &str, force: bool, progress: Progress<'_>) -> Result<()> {
        const CALL: &str = "rbd_trash_remove_with_progress";
        let (pool, path) = (self.clone(), self.path(&format!("id {id}")));
        let c_id = c_string("image id", id)?;
        let removed = self
            .cluster()
            .patience()
            .long_change_in_time(CALL, &path, progress, {
                let path = path.clone();
                move |beats| {
                    let (rbd, io, id) = (pool.rbd()?, pool.raw(), c_id.as_ptr());
                    // SAFETY: the ioctx is valid; the id is a C string; the beats outlive the call.
                    let removed = unsafe {
                        rbd.rbd_trash_remove_with_progress(io, id, force, trampoline, beats.data())
                    };
                    check(CALL, || path, removed).map(|_| ())
                }
            });
        removed.map_err(|error| self.explain(&ImageRef::Id(id), error))
    }

    /// Restores an image from the trash as `name`.
    ///
    /// # Errors
    /// [`Error::is_already_there`](crate::Error::is_already_there) if an image has the name.
    ///
    /// Implements: `int rbd_trash_restore(rados_ioctx_t io, const char *id, const char *name)`.
    pub fn trash_restore(&self, id: &str, name: &str) -> Result<()> {
        const CALL: &str = "rbd_trash_restore";
        let (pool, path) = (self.clone(), self.path(&format!("id {id}")));
        let (c_id, c_name) = (c_string("image id", id)?, c_string("image name", name)?);
        let restored = self.cluster().patience().change_in_time(CALL, &path, {
            let path = path.clone();
            move || {
                let (rbd, id, name) = (pool.rbd()?, c_id.as_ptr(), c_name.as_ptr());
                // SAFETY: the ioctx is valid; both are C strings.
                let restored = unsafe { rbd.rbd_trash_restore(pool.raw(), id, name) };
                check(CALL, || path, restored).map(|_| ())
            }
        });
        restored.map_err(|error| self.explain(&ImageRef::Id(id), error))
    }
}
