//! Takes, lists and removes snapshots of an image.

use std::ffi::c_int;
use std::ptr;

use nix::errno::Errno;

use crate::buffer::{c_string, copy_text, is_too_short, text_of_unknown_length};
use crate::error::{Error, Result};
use crate::ffi::rbd::{
    rbd_snap_info_t, CEPH_NOSNAP, RBD_SNAP_NAMESPACE_TYPE_GROUP, RBD_SNAP_NAMESPACE_TYPE_MIRROR,
    RBD_SNAP_NAMESPACE_TYPE_TRASH, RBD_SNAP_NAMESPACE_TYPE_USER,
};
use crate::image::Image;
use crate::snapshot::{SnapId, Snapshot, SnapshotKind};

impl Image {
    /// Takes a snapshot and returns its number.
    ///
    /// # Errors
    /// [`Error::is_already_there`] if a snapshot has the name; EROFS if another client holds the exclusive
    /// lock and does not release it; [`Error::SnapshotLimit`].
    ///
    /// Implements: `int rbd_snap_create(rbd_image_t image, const char *snapname)`.
    pub fn snapshot_create(&self, name: &str) -> Result<SnapId> {
        let c_name = c_string("snapshot name", name)?;
        self.change("rbd_snap_create", move |image| {
            // SAFETY: the image is open; the name is a C string.
            let made = unsafe { image.rbd().rbd_snap_create(image.raw(), c_name.as_ptr()) };
            match image.check("rbd_snap_create", made) {
                // EDQUOT is also the errno of a reached quota.
                Err(error) if error.errno() == Some(Errno::EDQUOT as i32) => {
                    Err(image.snapshot_limit_or(error))
                }
                other => other.map(|_| ()),
            }
        })?;
        self.snapshot_id(name)
    }

    /// Returns the limit of the image's snapshots; `None` if it has none.
    ///
    /// Implements: `int rbd_snap_get_limit(rbd_image_t image, uint64_t *limit)`.
    fn snapshot_limit_now(&self) -> Result<Option<u64>> {
        let mut limit = 0;
        // SAFETY: the image is open; `limit` is valid for writing.
        let got = unsafe { self.rbd().rbd_snap_get_limit(self.raw(), &mut limit) };
        self.check("rbd_snap_get_limit", got)?;
        Ok((limit < u64::MAX).then_some(limit))
    }

    /// Returns [`Error::SnapshotLimit`] if the image has as many snapshots as `rbd snap limit set` allows, and
    /// `other` if not.
    fn snapshot_limit_or(&self, other: Error) -> Error {
        match (self.snapshot_limit_now(), self.snapshots(), self.spec()) {
            (Ok(Some(limit)), Ok(taken), Ok(image)) if limit <= taken.len() as u64 => {
                Error::SnapshotLimit { image, limit }
            }
            _ => other,
        }
    }

    /// Returns the pool and the name of the image, for `rbd`.
    fn spec(&self) -> Result<String> {
        Ok(self.pool().path(&self.name()?))
    }

    /// Returns the number of the ordinary snapshot called `name`.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is none.
    ///
    /// Implements: `int rbd_snap_get_id(rbd_image_t image, const char *snapname,
    /// uint64_t *snap_id)` if librbd has it (Octopus and later).
    pub fn snapshot_id(&self, name: &str) -> Result<SnapId> {
        let name = name.to_owned();
        self.read("rbd_snap_get_id", move |image| image.snapshot_id_now(&name))
    }

    fn snapshot_id_now(&self, name: &str) -> Result<SnapId> {
        let c_name = c_string("snapshot name", name)?;
        let mut id = 0;
        // SAFETY: the image is open; the name is a C string; `id` is valid for writing.
        let got = unsafe {
            self.rbd()
                .rbd_snap_get_id(self.raw(), c_name.as_ptr(), &mut id)
        };
        if let Some(got) = got {
            self.check("rbd_snap_get_id", got)?;
            return Ok(SnapId(id));
        }
        self.find_snapshot(|snap| snap.kind == SnapshotKind::User && snap.name == name)
            .map(|snap| snap.id)
    }

    fn find_snapshot(&self, wanted: impl Fn(&Snapshot) -> bool) -> Result<Snapshot> {
        let found = self.snapshots_now()?.into_iter().find(wanted);
        found.ok_or_else(|| Error::Call {
            call: "rbd_snap_list",
            object: self.path().to_owned(),
            errno: Errno::ENOENT as i32,
            detail: Some("the image has no such snapshot".to_owned()),
        })
    }

    /// Removes a snapshot. If clones (of format 2) depend on it, it goes to the trash, and librbd removes it
    /// with the last of them.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is none; EBUSY if it is protected, or in the trash with clones left.
    ///
    /// Implements: `int rbd_snap_remove_by_id(rbd_image_t image, uint64_t snap_id)`.
    pub fn snapshot_remove(&self, id: SnapId) -> Result<()> {
        self.change("rbd_snap_remove_by_id", move |image| {
            // SAFETY: the image is open.
            let removed = unsafe { image.rbd().rbd_snap_remove_by_id(image.raw(), id.0) };
            image.check("rbd_snap_remove_by_id", removed).map(|_| ())
        })
    }

    /// Protects a snapshot: it cannot be removed, and clones of format 1 can be made of it.
    ///
    /// # Errors
    /// EBUSY if it is protected.
    ///
    /// Implements: `int rbd_snap_protect(rbd_image_t image, const char *snap_name)`.
    pub fn snapshot_protect(&self, name: &str) -> Result<()> {
        let c_name = c_string("snapshot name", name)?;
        self.change("rbd_snap_protect", move |image| {
            // SAFETY: the image is open; the name is a C string.
            let done = unsafe { image.rbd().rbd_snap_protect(image.raw(), c_name.as_ptr()) };
            image.check("rbd_snap_protect", done).map(|_| ())
        })
    }

    /// Removes the protection of a snapshot.
    ///
    /// # Errors
    /// EBUSY if it has clones of format 1; EINVAL if it is not protected.
    ///
    /// Implements: `int rbd_snap_unprotect(rbd_image_t image, const char *snap_name)`.
    pub fn snapshot_unprotect(&self, name: &str) -> Result<()> {
        let c_name = c_string("snapshot name", name)?;
        self.change("rbd_snap_unprotect", move |image| {
            // SAFETY: the image is open; the name is a C string.
            let done = unsafe { image.rbd().rbd_snap_unprotect(image.raw(), c_name.as_ptr()) };
            image.check("rbd_snap_unprotect", done).map(|_| ())
        })
    }

    /// Returns all snapshots of the image, oldest first, also those in the trash.
    ///
    /// Implements: `int rbd_snap_list(rbd_image_t image, rbd_snap_info_t *snaps, int *max_snaps)`;
    /// the strings are freed with `void rbd_snap_list_end(rbd_snap_info_t *snaps)`.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.read("rbd_snap_list", Self::snapshots_now)
    }

    fn snapshots_now(&self) -> Result<Vec<Snapshot>> {
        let mut capacity: c_int = 64;
        let listed: Vec<(SnapId, u64, String)> = loop {
            let mut infos: Vec<rbd_snap_info_t> = Vec::new();
            // All zero, as `rbd_snap_list_end` frees up to the first entry without a name.
            infos.resize_with(usize::try_from(capacity).unwrap_or_default(), || {
                rbd_snap_info_t {
                    id: 0,
                    size: 0,
                    name: ptr::null(),
                }
            });
            let mut count = capacity;
            // SAFETY: the image is open; `infos` has `count` entries.
            let got = unsafe {
                self.rbd()
                    .rbd_snap_list(self.raw(), infos.as_mut_ptr(), &mut count)
            };
            match self.check("rbd_snap_list", got) {
                Err(error) if is_too_short(&error) => capacity = count.max(capacity) + 16,
                Err(error) => return Err(error),
                // The list needs one more entry for its end.
                Ok(found) if found >= capacity => capacity = found + 16,
                Ok(_) => {
                    let named = infos.iter().take_while(|info| !info.name.is_null());
                    // SAFETY: the names are C strings until they are freed, below, once.
                    let listed = named
                        .map(|info| (SnapId(info.id), info.size, unsafe { copy_text(info.name) }))
                        .collect();
                    // SAFETY: filled by rbd_snap_list, and ended by an entry without a name.
                    unsafe { self.rbd().rbd_snap_list_end(infos.as_mut_ptr()) };
                    break listed;
                }
            }
        };
        let described = listed.into_iter().map(|(id, size, name)| {
            Ok(Snapshot {
                id,
                name,
                size,
                kind: self.snapshot_kind(id)?,
            })
        });
        described.collect()
    }

    /// Implements: `int rbd_snap_get_namespace_type(rbd_image_t image, uint64_t snap_id,
    /// rbd_snap_namespace_type_t *namespace_type)`, `int rbd_snap_get_trash_namespace(rbd_image_t
    /// image, uint64_t snap_id, char* original_name, size_t max_length)`.
    fn snapshot_kind(&self, id: SnapId) -> Result<SnapshotKind> {
        let mut kind = 0;
        // SAFETY: the image is open; `kind` is valid for writing.
        let got = unsafe {
            self.rbd()
                .rbd_snap_get_namespace_type(self.raw(), id.0, &mut kind)
        };
        self.check("rbd_snap_get_namespace_type", got)?;
        Ok(match kind {
            RBD_SNAP_NAMESPACE_TYPE_USER => SnapshotKind::User,
            RBD_SNAP_NAMESPACE_TYPE_GROUP => SnapshotKind::Group,
            RBD_SNAP_NAMESPACE_TYPE_MIRROR => SnapshotKind::Mirror,
            RBD_SNAP_NAMESPACE_TYPE_TRASH => SnapshotKind::Trash {
                original_name: text_of_unknown_length(128, |buffer, length| {
                    // SAFETY: the image is open; `buffer` is valid for `length` bytes.
                    let got = unsafe {
                        let rbd = self.rbd();
                        rbd.rbd_snap_get_trash_namespace(self.raw(), id.0, buffer, length)
                    };
                    self.check("rbd_snap_get_trash_namespace", got)
                })?,
            },
            other => SnapshotKind::Other(other),
        })
    }

    /// Sets the snapshot for later reads of the image; `None` sets the head.
    ///
    /// Implements: `int rbd_snap_set_by_id(rbd_image_t image, uint64_t snap_id)`.
    pub fn set_snapshot(&mut self, id: Option<SnapId>) -> Result<()> {
        let id = id.map_or(CEPH_NOSNAP, |id| id.0);
        self.read("rbd_snap_set_by_id", move |image| {
            // SAFETY: the image is open, and `&mut` excludes reads of other threads.
            let set = unsafe { image.rbd().rbd_snap_set_by_id(image.raw(), id) };
            image.check("rbd_snap_set_by_id", set).map(|_| ())
        })
    }
}
