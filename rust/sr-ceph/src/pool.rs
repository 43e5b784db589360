//! The part of a Ceph cluster that an SR uses: one pool, as a trait.
//!
//! It has two implementations: [`crate::ceph`] (librados and librbd) and `crate::memory` (a simulator, for
//! tests in which every call can fail or be the last before a crash). For crash safety every method is one
//! step: callers must be safe if it was not applied, if it was applied, and if its reply was lost.

mod comparison;
mod deletion;
mod inspection;
mod listing;
pub(crate) mod spec;
mod takeover;
mod templates;

use std::collections::BTreeMap;

pub use self::comparison::Comparison;
pub use self::deletion::{Deletion, TrashedImage};
pub use self::inspection::{Inspection, MIGRATING, NON_PRIMARY};
pub use self::listing::{Counted, Listing, Part};
pub use self::takeover::Takeover;
pub use self::templates::{Template, Templates};
use crate::host::ImageKey;
use crate::image_format::{ImageFormat, Layout};

/// Entries of an object's omap.
pub type Entries = BTreeMap<String, Vec<u8>>;

/// Why a call to the cluster failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{call} on {object}: {}{}", describe_errno(*.errno), .detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
pub struct PoolError {
    /// The librados or librbd function, or the simulator's name for it.
    pub call: String,
    /// The image, object or pool that it is about.
    pub object: String,
    /// Positive errno, as in errno(3); 0: the failure is not the cluster's.
    pub errno: i32,
    /// Details, if there are any.
    pub detail: Option<String>,
}

fn describe_errno(errno: i32) -> String {
    match errno {
        0 => "failed".to_owned(),
        // librados returns this errno to a client that is on the blocklist.
        nix::libc::ESHUTDOWN => {
            "ESHUTDOWN (108): this client was put on the cluster's blocklist".to_owned()
        }
        _ => hostos::errno::describe(errno),
    }
}

impl PoolError {
    /// An error of `call` on `object` with a positive errno.
    pub fn new(call: &str, object: &str, errno: i32) -> Self {
        PoolError {
            call: call.to_owned(),
            object: object.to_owned(),
            errno,
            detail: None,
        }
    }

    /// Whether the object, image or key does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno == nix::libc::ENOENT
    }

    /// Whether the object or image exists already.
    pub fn is_already_there(&self) -> bool {
        self.errno == nix::libc::EEXIST
    }

    /// Whether a compare-and-swap found another value than the expected one.
    pub fn is_compare_failed(&self) -> bool {
        self.errno == nix::libc::ECANCELED
    }

    /// The call may have been applied, or may still be applied: [`librbd::is_outcome_unknown`].
    pub fn is_outcome_unknown(&self) -> bool {
        librbd::is_outcome_unknown(&self.call, self.errno)
    }

    /// The call that takes a snapshot.
    pub(crate) const SNAPSHOT: &'static str = "rbd_snap_create";

    /// Whether the image cannot be changed now because of its own state: a lock, another client, a demotion,
    /// a limit. Nothing else in the pool is affected.
    pub fn is_about_image(&self) -> bool {
        match self.errno {
            nix::libc::EROFS | nix::libc::EBUSY => true,
            0 => self.call == Self::SNAPSHOT,
            _ => false,
        }
    }

    /// Whether the pool or the cluster has no free space.
    pub fn is_out_of_space(&self) -> bool {
        matches!(self.errno, nix::libc::EDQUOT | nix::libc::ENOSPC)
    }
}

/// Result of a call to the cluster.
pub type Result<T> = std::result::Result<T, PoolError>;

/// One atomic change of an object's omap: nothing is written unless every expectation holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What each key must hold; `None`: the key must be absent.
    pub expect: BTreeMap<String, Option<Vec<u8>>>,
    /// Keys to write. Values are never empty: a missing key compares equal to an empty one.
    pub set: Entries,
    /// Keys to remove.
    pub remove: Vec<String>,
}

/// An image. Its id identifies it; the name is the one in the pool's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageState {
    /// The id, which never changes.
    pub id: String,
    /// The name in the pool's directory.
    pub name: String,
    /// Size of the head in bytes.
    pub size: u64,
    /// Feature bits (`RBD_FEATURE_*`).
    pub features: u64,
    /// Value of the image-meta key [`META_KEY`], if it has one.
    pub meta: Option<String>,
    /// Its snapshots, also removed ones that Ceph keeps for clones.
    pub snapshots: Vec<SnapshotState>,
    /// Whether it is a clone that was not flattened.
    pub has_parent: bool,
}

/// What an image's header contains: all that can be read without opening the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Size of the head in bytes.
    pub size: u64,
    /// As [`ImageState::has_parent`].
    pub has_parent: bool,
    /// The number of its snapshots, with removed ones that Ceph keeps for clones.
    pub snapshots: usize,
}

/// A snapshot of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotState {
    /// The id, which never changes.
    pub id: u64,
    /// The name. librbd renames a removed snapshot.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Removed, but kept by Ceph until its last clone is gone: it cannot be mapped or cloned.
    pub removed: bool,
    /// Its RBD namespace.
    pub kind: SnapshotKind,
}

/// The RBD namespace of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotKind {
    /// An ordinary snapshot.
    User,
    /// Removed, and kept for its clones.
    Removed,
    /// A part of the snapshot of a group, `POOL/GROUP@SNAPSHOT` or `POOL/NAMESPACE/GROUP@SNAPSHOT`.
    Group(String),
    /// Made by mirroring.
    Mirror,
    /// Another namespace, by its number in librbd.
    Other(i32),
}

/// The one image-meta key this driver writes.
pub const META_KEY: &str = "smblock";

/// A client that watches an image's header: it has the image mapped, or open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    /// The client's address, `ip:port/nonce`.
    pub address: String,
    /// The client's global id (`client.4123` has 4123).
    pub client_id: u64,
    /// The watch's cookie.
    pub cookie: u64,
}

impl Watcher {
    /// The first number of the watches of kernel clients; librbd's cookies are pointers.
    const FIRST_KERNEL_COOKIE: u64 = 0xffff_0000_0000_0000;

    /// Whether a kernel holds this watch. A client of librbd (a monitoring tool, a backup, another command of
    /// this driver) watches too, and does not prove a second writer.
    pub fn is_kernel(&self) -> bool {
        self.cookie >= Self::FIRST_KERNEL_COOKIE
    }
}

/// What needs an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsers {
    /// As in [`ImageState::snapshots`].
    pub snapshots: Vec<SnapshotState>,
    /// The clients that have it mapped or open for writing, or that died less than 30 s ago. A change of the
    /// image requests its lock from them first, and waits for dead ones.
    pub watchers: Vec<Watcher>,
}

/// Gets the progress of a long call: how much is done, and how much there is in all, in a unit of the call.
/// Called about once a second on the caller's own thread: it may send requests to the cluster.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// One pool of a Ceph cluster, seen by one client.
pub trait Pool: Comparison + Deletion + Inspection + Listing + Takeover + Templates {
    /// The cluster's fsid.
    fn fsid(&self) -> Result<String>;
    /// The pool's id.
    fn pool_id(&self) -> i64;
    /// The pool's name.
    fn pool_name(&self) -> &str;
    /// The RADOS namespace of the pool that this is; empty: the default one.
    fn namespace(&self) -> &str {
        ""
    }
    /// The pool and its namespace, as `rbd` takes them: `POOL`, or `POOL/NAMESPACE`.
    fn spec(&self) -> String {
        spec::spec(self.pool_name(), self.namespace())
    }
    /// Whether an image of the cluster `fsid` is in this pool and namespace.
    fn holds(&self, fsid: &str, key: &ImageKey) -> bool {
        key.fsid == fsid && key.pool_id == self.pool_id() && key.namespace == self.namespace()
    }
    /// Fails with ENOENT if the pool does not have this namespace.
    fn require_namespace(&self) -> Result<()> {
        Ok(())
    }
    /// The pool that keeps the data of new images. `None`: this pool.
    fn data_pool(&self) -> Option<&str> {
        None
    }
    /// The size of the objects of new images in bytes.
    fn object_size(&self) -> u64 {
        Layout::DEFAULT.object_size
    }
    /// This client's own address, in the form that [`Pool::blocklist`] takes.
    fn address(&self) -> Result<String>;
    /// Blocklists the client with that address: from the return of this call until `seconds` later, none of
    /// its requests is applied.
    fn blocklist(&self, address: &str, seconds: u32) -> Result<()>;
    /// Fails with EACCES if this client's user may not blocklist other clients.
    fn may_blocklist(&self) -> Result<()>;
    /// Returns the blocklisted addresses.
    fn blocklisted(&self) -> Result<Vec<String>>;

    /// Makes an object with these omap entries. EEXIST: it exists, and was not changed.
    fn create_object(&self, object: &str, entries: &Entries) -> Result<()>;
    /// Returns every omap entry whose key starts with `prefix`. ENOENT: the object does not exist.
    fn read(&self, object: &str, prefix: &str) -> Result<Entries>;
    /// Returns those of these omap entries that exist. ENOENT: the object does not exist.
    fn get(&self, object: &str, keys: &[&str]) -> Result<Entries>;
    /// Applies one compare-and-swap. ECANCELED: an expectation did not hold, nothing was written.
    fn transaction(&self, object: &str, transaction: &Transaction) -> Result<()>;
    /// Removes an object whose omap holds these entries, and maybe others. ECANCELED: it does not hold them,
    /// and was not removed.
    fn remove_object(&self, object: &str, expect: &Entries) -> Result<()>;

    /// Makes an image of `size` bytes with the image-meta `meta` under [`META_KEY`]. Returns its id. After a
    /// crash inside, the image may have no image-meta.
    fn create_image(
        &self,
        name: &str,
        size: u64,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String>;
    /// Takes a snapshot. Returns its id. EEXIST: the image has a snapshot of that name.
    fn create_snapshot(&self, image_id: &str, name: &str) -> Result<u64>;
    /// Opens images for [`Pool::create_snapshot`], which then needs no time for that. A failure is left to that call.
    fn hold_open(&self, _image_ids: &[&str]) {}
    /// Closes them. This is done before a disk is resumed: a kernel that asks for the lock of an image while its owner
    /// closes the image waits for 10 s.
    fn let_go(&self) {}
    /// Takes snapshots of several images at once: image ids with names. Returns a result for each, in their
    /// order.
    fn create_snapshots(&self, wanted: &[(&str, &str)]) -> Vec<Result<u64>> {
        let each = wanted.iter();
        each.map(|(image_id, name)| self.create_snapshot(image_id, name))
            .collect()
    }
    /// Removes a snapshot. Ceph keeps one with clones, out of sight, until its last clone is gone. ENOENT:
    /// the image does not have the snapshot (any more).
    fn remove_snapshot(&self, image_id: &str, snapshot_id: u64) -> Result<()>;
    /// Returns `true` only if an image's head holds what a snapshot of it holds. `false` if it has changed
    /// since, by any writer, or if the comparison takes too long. ENOENT: the image or the snapshot does not
    /// exist (any more).
    fn is_unchanged_since(&self, image_id: &str, snapshot_id: u64) -> Result<bool>;
    /// Makes a thin clone of a snapshot (clone format 2). Returns its id. Otherwise as
    /// [`Pool::create_image`].
    fn clone_image(
        &self,
        parent: (&str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String>;
    /// The pool's directory: name by image id. Opens no image.
    fn images(&self) -> Result<BTreeMap<String, String>>;
    /// Returns the name of an image in the pool's directory; `None` if the image is not there, or in the
    /// trash. Opens no image.
    fn image_name(&self, id: &str) -> Result<Option<String>>;
    /// Returns what needs an image. ENOENT: it does not exist.
    fn users(&self, id: &str) -> Result<ImageUsers>;
    /// Returns an image's header, also of an image in the trash. Opens no image. ENOENT: it does not exist.
    fn header(&self, id: &str) -> Result<ImageHeader>;
    /// Looks up an image by id, also in the trash. ENOENT: it does not exist.
    fn image(&self, id: &str) -> Result<ImageState>;
    /// Looks up an image by name. ENOENT: no image has that name.
    fn image_by_name(&self, name: &str) -> Result<ImageState>;
    /// Makes an image larger, to a size in bytes.
    fn grow_image(&self, id: &str, size: u64) -> Result<()>;
    /// Returns the clients that watch the image.
    fn watchers(&self, id: &str) -> Result<Vec<Watcher>>;
    /// Fails with EBUSY if the image was locked by hand, as `rbd lock add` does: it cannot be changed.
    /// ENOENT: it does not exist.
    fn require_unlocked(&self, id: &str) -> Result<()>;
    /// Frees the data of an image's head: its size becomes 0, its snapshots and their clones keep their
    /// content. Takes longer the more objects the head has. If it is stopped, what is freed stays freed.
    fn empty_image(&self, id: &str, progress: Progress<'_>) -> Result<()>;
    /// Flattens a clone: copies to it what it shares with its parent. Its snapshots keep the parent. EINVAL:
    /// it has no parent (any more).
    fn flatten_image(&self, id: &str, progress: Progress<'_>) -> Result<()>;
    /// Asks ceph-mgr to flatten a clone in the background.
    fn schedule_flatten(&self, name: &str) -> Result<()>;

    /// `ceph df detail`, as JSON.
    fn df(&self) -> Result<Vec<u8>>;
    /// `ceph osd dump`, as JSON.
    fn osd_dump(&self) -> Result<Vec<u8>>;
}
