//! The part of a Ceph cluster that an SR stands on: one pool, as a trait.
//!
//! Two implementations: [`crate::ceph`] (librados and librbd) and `crate::memory` (a model of
//! their behaviour, for tests in which every call can fail or be the last before a crash).
//! Every method is one step as far as crash safety goes: callers must be safe when it was not
//! applied, when it was, and when the answer was lost.

mod inspection;

use std::collections::BTreeMap;

pub use self::inspection::{Inspection, MIGRATING, NON_PRIMARY};

/// Entries of an object's omap.
pub type Entries = BTreeMap<String, Vec<u8>>;

/// What a call to the cluster answers when it did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{call} on {object}: {}{}", describe_errno(*.errno), .detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
pub struct PoolError {
    /// The librados or librbd function, or what stands for it.
    pub call: String,
    /// The image, object or pool it was about.
    pub object: String,
    /// Positive errno, as in errno(3); 0 where the failure is not one of the cluster's.
    pub errno: i32,
    /// What else the cluster said.
    pub detail: Option<String>,
}

fn describe_errno(errno: i32) -> String {
    match errno {
        0 => "failed".to_owned(),
        // librados gives this errno for a client that was put on the blocklist.
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

    /// The object, image or key does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno == nix::libc::ENOENT
    }

    /// The object or image exists already.
    pub fn is_already_there(&self) -> bool {
        self.errno == nix::libc::EEXIST
    }

    /// A compare-and-swap found another value than the expected one.
    pub fn is_compare_failed(&self) -> bool {
        self.errno == nix::libc::ECANCELED
    }

    /// The call may have been applied, or may still be applied: [`librbd::is_outcome_unknown`].
    pub fn is_outcome_unknown(&self) -> bool {
        librbd::is_outcome_unknown(&self.call, self.errno)
    }

    /// What takes a snapshot.
    pub(crate) const SNAPSHOT: &'static str = "rbd_snap_create";

    /// The image it is about cannot be changed now, for a reason that its own state is: a lock, another
    /// client, a demotion, a limit. Nothing else of the pool is affected.
    pub fn is_about_image(&self) -> bool {
        match self.errno {
            nix::libc::EROFS | nix::libc::EBUSY => true,
            0 => self.call == Self::SNAPSHOT,
            _ => false,
        }
    }

    /// The pool or the cluster has no room left.
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

/// An image, addressed by its id; the name is only what it was made with.
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
    /// Value of the image-meta key [`META_KEY`], where there is one.
    pub meta: Option<String>,
    /// Its snapshots, also those that were removed and that only clones keep.
    pub snapshots: Vec<SnapshotState>,
    /// Whether it is a clone that was not flattened.
    pub has_parent: bool,
}

/// What an image's header says: as much as can be told without opening the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Size of the head in bytes.
    pub size: u64,
    /// As [`ImageState::has_parent`].
    pub has_parent: bool,
    /// How many snapshots it has, those among them that were removed and that only clones keep.
    pub snapshots: usize,
}

/// A snapshot of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotState {
    /// The id, which never changes.
    pub id: u64,
    /// The name; of a removed one, a name that librbd gave it.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Removed, and kept by Ceph until its last clone goes: it cannot be mapped or cloned.
    pub removed: bool,
    /// What it is.
    pub origin: Origin,
}

/// What a snapshot is: the RBD namespace of snapshots that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An ordinary one.
    User,
    /// Removed, and kept for its clones.
    Removed,
    /// A part of that snapshot of a group, `POOL/GROUP@SNAPSHOT`.
    Group(String),
    /// Mirroring has made it.
    Mirror,
    /// Another one, by its number in librbd.
    Other(i32),
}

/// The one image-meta key this driver writes.
pub const META_KEY: &str = "smblock";

/// A client that watches an image's header: whoever has it open for writing or mapped.
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
    /// Kernel clients number their watches from this on; librbd's cookies are pointers.
    const FIRST_KERNEL_COOKIE: u64 = 0xffff_0000_0000_0000;

    /// Whether a kernel holds this watch. A librbd handle (a monitoring tool, a backup, another
    /// command of this driver) is a watcher too and proves no second writer.
    pub fn is_kernel(&self) -> bool {
        self.cookie >= Self::FIRST_KERNEL_COOKIE
    }
}

/// Who needs an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsers {
    /// As in [`ImageState::snapshots`].
    pub snapshots: Vec<SnapshotState>,
    /// Whoever has it open for writing or mapped, or died less than 30 s ago. What changes the
    /// image asks them for its lock first, and waits for the dead ones.
    pub watchers: Vec<Watcher>,
}

/// An image in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashedImage {
    /// The image's id.
    pub id: String,
    /// The name it had.
    pub name: String,
    /// It is the source of a migration that is not committed yet.
    pub migrating: bool,
}

/// Hears how far a long call is: how much is done, of how much in all, in a unit of the call's own.
/// About once a second, on the caller's own thread: it may ask the cluster for something.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// One pool of a Ceph cluster, seen by one client.
pub trait Pool: Inspection {
    /// The cluster's fsid.
    fn fsid(&self) -> Result<String>;
    /// The pool's id.
    fn pool_id(&self) -> i64;
    /// The pool's name.
    fn pool_name(&self) -> &str;
    /// This client's own address, in the form that [`Pool::blocklist`] takes.
    fn address(&self) -> Result<String>;
    /// Cuts off the client with that address: none of its requests is applied any more, from when
    /// this returns until `seconds` later.
    fn blocklist(&self, address: &str, seconds: u32) -> Result<()>;
    /// EACCES: this client's user may not cut others off.
    fn may_blocklist(&self) -> Result<()>;
    /// The addresses that are cut off at the moment.
    fn blocklisted(&self) -> Result<Vec<String>>;

    /// Makes an object with these omap entries, or answers EEXIST and changes nothing.
    fn create_object(&self, object: &str, entries: &Entries) -> Result<()>;
    /// Every omap entry whose key starts with `prefix`. ENOENT where the object is absent.
    fn read(&self, object: &str, prefix: &str) -> Result<Entries>;
    /// These omap entries, as far as they exist. ENOENT where the object is absent.
    fn get(&self, object: &str, keys: &[&str]) -> Result<Entries>;
    /// Applies one compare-and-swap. ECANCELED: an expectation did not hold, nothing was written.
    fn transaction(&self, object: &str, transaction: &Transaction) -> Result<()>;
    /// Removes an object whose omap holds these entries, whatever else it holds. ECANCELED: it
    /// does not hold them, and nothing was removed.
    fn remove_object(&self, object: &str, expect: &Entries) -> Result<()>;

    /// Makes what deletion needs on a full pool (the object `rbd_trash`).
    fn prepare_trash(&self) -> Result<()>;
    /// Makes an image of `size` bytes with the image-meta `meta` under [`META_KEY`]; answers
    /// its id. A crash inside can leave the image without its meta.
    fn create_image(&self, name: &str, size: u64, features: u64, meta: &str) -> Result<String>;
    /// Takes a snapshot; answers its id. EEXIST: the image has one of that name.
    fn create_snapshot(&self, image_id: &str, name: &str) -> Result<u64>;
    /// Removes a snapshot. One with clones lives on, out of sight, until the last of them goes.
    /// ENOENT: the image has no such snapshot (any more).
    fn remove_snapshot(&self, image_id: &str, snapshot_id: u64) -> Result<()>;
    /// Whether an image's head certainly holds what a snapshot of it holds. `false` if it has changed
    /// since, whoever has written to it, or if it takes too long to tell. ENOENT: the image or the
    /// snapshot does not exist (any more).
    fn is_unchanged_since(&self, image_id: &str, snapshot_id: u64) -> Result<bool>;
    /// Makes an image that shares a snapshot's blocks, thin (clone format 2); answers its id. As
    /// [`Pool::create_image`] otherwise.
    fn clone_image(
        &self,
        parent: (&str, u64),
        name: &str,
        features: u64,
        meta: &str,
    ) -> Result<String>;
    /// The pool's directory: name by image id. Opens no image.
    fn images(&self) -> Result<BTreeMap<String, String>>;
    /// The name by which the pool's directory knows an image; `None` where it is not there, or in
    /// the trash. Opens no image.
    fn image_name(&self, id: &str) -> Result<Option<String>>;
    /// Who needs an image. ENOENT: it does not exist.
    fn users(&self, id: &str) -> Result<ImageUsers>;
    /// What an image's header says; also of one in the trash. Opens no image. ENOENT: it does not
    /// exist.
    fn header(&self, id: &str) -> Result<ImageHeader>;
    /// Looks one image up directly, by id; also one in the trash. ENOENT: it does not exist.
    fn image(&self, id: &str) -> Result<ImageState>;
    /// Looks one image up by name. ENOENT: no image has that name.
    fn image_by_name(&self, name: &str) -> Result<ImageState>;
    /// Sets an image's size in bytes. Growing only.
    fn grow_image(&self, id: &str, size: u64) -> Result<()>;
    /// Who watches the image.
    fn watchers(&self, id: &str) -> Result<Vec<Watcher>>;
    /// Refuses (EBUSY) an image that was locked by hand, as `rbd lock add` does: nothing of
    /// it can be changed. ENOENT: it does not exist.
    fn require_unlocked(&self, id: &str) -> Result<()>;
    /// Moves an image to the trash. ENOENT: no image of that name is in the directory.
    fn trash_image(&self, name: &str) -> Result<()>;
    /// What is in the trash.
    fn trash(&self) -> Result<Vec<TrashedImage>>;
    /// Asks the cluster's manager to free a trashed image in the background.
    fn schedule_purge(&self, id: &str) -> Result<()>;
    /// Frees a trashed image now: takes as long as the image has objects. EBUSY: somebody watches
    /// it; ENOTEMPTY: it has snapshots.
    fn purge(&self, id: &str, progress: Progress<'_>) -> Result<()>;
    /// Frees the data of an image's head: its size becomes 0, its snapshots and their clones stay
    /// what they are. Takes as long as the head has objects; stopped half-way, it has freed half.
    fn empty_image(&self, id: &str, progress: Progress<'_>) -> Result<()>;
    /// Copies to a clone what it shares with its parent, and makes it stand alone. Its snapshots
    /// keep the parent. EINVAL: it has no parent (any more).
    fn flatten_image(&self, id: &str, progress: Progress<'_>) -> Result<()>;
    /// Asks the cluster's manager to flatten a clone in the background.
    fn schedule_flatten(&self, name: &str) -> Result<()>;

    /// `ceph df detail`, as JSON.
    fn df(&self) -> Result<Vec<u8>>;
    /// `ceph osd dump`, as JSON.
    fn osd_dump(&self) -> Result<Vec<u8>>;
}
