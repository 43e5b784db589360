//! Groups of images: finds the group of an image, and removes the image from it.

use std::mem::{size_of, MaybeUninit};

use crate::buffer::{c_string, copy_text, text_of_unknown_length};
use crate::cluster::Cluster;
use crate::error::{check, Result};
use crate::ffi::rbd::{rbd_group_info_t, rbd_snap_group_namespace_t};
use crate::image::Image;
use crate::pool::Pool;
use crate::snapshot::SnapId;

/// A group of images. Its images may be in other pools than the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The number of the pool that the group is in.
    pub pool_id: i64,
    /// The group's name.
    pub name: String,
}

/// A snapshot of a group. It has a snapshot of each image of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// The group.
    pub group: Group,
    /// The name of the group's snapshot.
    pub name: String,
}

impl Image {
    /// Returns the group of the image; `None` if it is in no group. Also for an image in the trash.
    ///
    /// Implements: `int rbd_get_group(rbd_image_t image, rbd_group_info_t *group_info, size_t
    /// group_info_size)`; the name is freed with `int rbd_group_info_cleanup(rbd_group_info_t
    /// *group_info, size_t group_info_size)`.
    pub fn group(&self) -> Result<Option<Group>> {
        self.read("rbd_get_group", Self::group_now)
    }

    fn group_now(&self) -> Result<Option<Group>> {
        let mut info = MaybeUninit::<rbd_group_info_t>::zeroed();
        let size = size_of::<rbd_group_info_t>();
        // SAFETY: the image is open; `info` has the given size.
        let got = unsafe {
            self.rbd()
                .rbd_get_group(self.raw(), info.as_mut_ptr(), size)
        };
        self.check("rbd_get_group", got)?;
        // SAFETY: it was filled; the name is copied before it is freed, once.
        let group = unsafe {
            let group = Group {
                pool_id: info.assume_init_ref().pool,
                name: copy_text(info.assume_init_ref().name),
            };
            self.rbd().rbd_group_info_cleanup(info.as_mut_ptr(), size);
            group
        };
        Ok((group.pool_id >= 0).then_some(group))
    }

    /// Returns the group snapshot of a snapshot of kind [`SnapshotKind::Group`](crate::SnapshotKind::Group).
    ///
    /// Implements: `int rbd_snap_get_group_namespace(rbd_image_t image, uint64_t snap_id,
    /// rbd_snap_group_namespace_t *group_snap, size_t group_snap_size)`; the names are freed with `int rbd_snap_group_namespace_cleanup(rbd_snap_group_namespace_t *group_spec, size_t
    /// group_snap_size)`.
    pub fn group_snapshot(&self, id: SnapId) -> Result<GroupSnapshot> {
        self.read("rbd_snap_get_group_namespace", move |image| {
            image.group_snapshot_now(id)
        })
    }

    fn group_snapshot_now(&self, id: SnapId) -> Result<GroupSnapshot> {
        let mut found = MaybeUninit::<rbd_snap_group_namespace_t>::zeroed();
        let size = size_of::<rbd_snap_group_namespace_t>();
        // SAFETY: the image is open; `found` has the given size.
        let got = unsafe {
            let rbd = self.rbd();
            rbd.rbd_snap_get_group_namespace(self.raw(), id.0, found.as_mut_ptr(), size)
        };
        self.check("rbd_snap_get_group_namespace", got)?;
        // SAFETY: it was filled; the names are copied before they are freed, once.
        Ok(unsafe {
            let filled = found.assume_init_ref();
            let snapshot = GroupSnapshot {
                group: Group {
                    pool_id: filled.group_pool,
                    name: copy_text(filled.group_name),
                },
                name: copy_text(filled.group_snap_name),
            };
            let rbd = self.rbd();
            rbd.rbd_snap_group_namespace_cleanup(found.as_mut_ptr(), size);
            snapshot
        })
    }
}

impl Pool {
    /// Removes an image of this pool, also one in the trash, from a group. Succeeds if it is not a member.
    ///
    /// Implements: `int rbd_group_image_remove_by_id(rados_ioctx_t group_p, const char *group_name,
    /// rados_ioctx_t image_p, const char *image_id)`.
    pub fn leave_group(&self, group_pool: &Pool, group: &str, image_id: &str) -> Result<()> {
        const CALL: &str = "rbd_group_image_remove_by_id";
        let (c_group, c_id) = (c_string("group", group)?, c_string("image id", image_id)?);
        let object = format!("{} (image id {image_id})", group_pool.path(group));
        let (of_group, of_image, named) = (group_pool.clone(), self.clone(), object.clone());
        self.cluster()
            .patience()
            .change_in_time(CALL, &object, move || {
                let rbd = of_image.rbd()?;
                // SAFETY: both ioctxs are valid; both texts are C strings.
                let removed = unsafe {
                    rbd.rbd_group_image_remove_by_id(
                        of_group.raw(),
                        c_group.as_ptr(),
                        of_image.raw(),
                        c_id.as_ptr(),
                    )
                };
                check(CALL, || named, removed).map(|_| ())
            })
    }
}

impl Cluster {
    /// Returns the name of the pool with that number.
    ///
    /// Implements: `int rados_pool_reverse_lookup(rados_t cluster, int64_t id, char *buf, size_t
    /// maxlen)`.
    pub fn pool_name(&self, id: i64) -> Result<String> {
        text_of_unknown_length(128, |buffer, length| {
            // SAFETY: the connection is up; `buffer` is valid for `length` bytes.
            let got = unsafe {
                self.library()
                    .rados
                    .rados_pool_reverse_lookup(self.raw(), id, buffer, length)
            };
            check("rados_pool_reverse_lookup", || format!("pool id {id}"), got)
        })
    }
}
