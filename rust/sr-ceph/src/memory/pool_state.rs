//! The pool's state.

use std::collections::{BTreeMap, BTreeSet};

use nix::libc;

use crate::pool::{
    Entries, ImageState, PoolError, SnapshotKind, SnapshotState, Transaction, Watcher,
};

/// The object that an image needs on its way to the trash. A full pool refuses to make it.
pub(super) const TRASH_OBJECT: &str = "rbd_trash";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub name: String,
    pub size: u64,
    pub features: u64,
    pub meta: Option<String>,
    pub content: u64,
    pub snapshots: Vec<ImageSnapshot>,
    /// The image and the snapshot that it was cloned from.
    pub parent: Option<(String, u64)>,
    /// Whether it is a clone of format 1, which needs its snapshot protected.
    pub is_format_1: bool,
    /// Whiteouts may exist up to this size in bytes: those of objects that it shared with its parent when its
    /// head was emptied under a snapshot.
    pub whiteouts: u64,
    /// `POOL/GROUP`, if it is a member of a group.
    pub group: Option<String>,
    /// How many snapshots it may have.
    pub limit: Option<u64>,
    /// The id of a lock that was set by hand.
    pub lock: Option<String>,
    /// Whether it begins as an encrypted image does.
    pub is_encrypted: bool,
    /// How many objects have its data.
    pub objects: u64,
    /// The pool that has its data, if it is not this one.
    pub data_pool: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageSnapshot {
    pub id: u64,
    pub name: String,
    pub size: u64,
    pub content: u64,
    pub removed: bool,
    pub protected: bool,
    pub kind: SnapshotKind,
    /// The image's parent when it was taken. Flattening the image does not change it.
    pub parent: Option<(String, u64)>,
}

impl Image {
    pub fn new(name: &str, size: u64, features: u64, meta: Option<&str>) -> Self {
        Image {
            name: name.to_owned(),
            size,
            features,
            meta: meta.map(str::to_owned),
            content: 0,
            snapshots: Vec::new(),
            parent: None,
            is_format_1: false,
            whiteouts: 0,
            group: None,
            limit: None,
            lock: None,
            is_encrypted: false,
            objects: 0,
            data_pool: None,
        }
    }

    /// A snapshot that was not removed.
    pub fn snapshot(&self, id: u64) -> Option<&ImageSnapshot> {
        self.snapshots.iter().find(|s| s.id == id && !s.removed)
    }

    /// Returns what a client sees of it.
    pub fn state(&self, id: &str) -> ImageState {
        ImageState {
            id: id.to_owned(),
            name: self.name.clone(),
            size: self.size,
            features: self.features,
            meta: self.meta.clone(),
            snapshots: self.snapshots.iter().map(ImageSnapshot::state).collect(),
            has_parent: self.parent.is_some(),
        }
    }
}

impl ImageSnapshot {
    fn state(&self) -> SnapshotState {
        SnapshotState {
            id: self.id,
            name: self.name.clone(),
            size: self.size,
            removed: self.removed,
            kind: match self.removed {
                true => SnapshotKind::Removed,
                false => self.kind.clone(),
            },
        }
    }

    /// A snapshot of what an image holds now.
    pub fn of(image: &Image, id: u64, name: &str, kind: SnapshotKind) -> Self {
        ImageSnapshot {
            id,
            name: name.to_owned(),
            size: image.size,
            content: image.content,
            removed: false,
            protected: false,
            kind,
            parent: image.parent.clone(),
        }
    }
}

struct Watch {
    image_id: String,
    watcher: Watcher,
    /// When the cluster removes it, in milliseconds since 1970, if its client is dead.
    ends: Option<u64>,
}

#[derive(Default)]
pub(super) struct PoolState {
    pub objects: BTreeMap<String, Entries>,
    /// By id, those in the trash too.
    pub images: BTreeMap<String, Image>,
    /// Id by name, without those in the trash.
    pub directory: BTreeMap<String, String>,
    pub trash: BTreeSet<String>,
    pub scheduled: BTreeSet<String>,
    /// Ids of the images that the manager was asked to flatten.
    pub to_flatten: BTreeSet<String>,
    pub without_manager: bool,
    /// Until when it is blocklisted, in milliseconds since 1970, by address.
    pub blocklist: BTreeMap<String, u64>,
    /// Whether the user may not add to the blocklist: its caps are too old.
    pub without_blocklist: bool,
    /// Whether the user may not change groups: they are in a pool in which it has no rights.
    pub closed_groups: bool,
    /// The source of each migration that is not committed, by its id, and the image that replaces it.
    pub migrations: BTreeMap<String, String>,
    /// Images that were migrated to another pool, by name.
    pub elsewhere: BTreeMap<String, Image>,
    pub quota_bytes: u64,
    pub stored: u64,
    pub full: bool,
    /// The health checks that the cluster fails, by name.
    pub failing: BTreeSet<String>,
    /// Whether the pool's CRUSH rule is of type msr.
    pub has_msr_rule: bool,
    /// The placement groups with a pg-upmap-primary entry.
    pub upmap_primaries: Vec<String>,
    pub unreachable: bool,
    /// See [`Sim::wrong_purges`](super::Sim::wrong_purges).
    pub wrong_purges: Vec<String>,
    /// See [`Sim::leaks`](super::Sim::leaks).
    pub leaks: Vec<String>,
    watches: Vec<Watch>,
}

impl PoolState {
    /// The image, if librbd can open it by its id: the directory or the trash has its name, and each of
    /// its parents exists.
    pub(super) fn openable(&self, id: &str) -> Option<&Image> {
        let image = self.images.get(id)?;
        let is_named = self.trash.contains(id) || self.directory.values().any(|found| found == id);
        let mut parent = image.parent.as_ref();
        while let Some((of, _)) = parent {
            parent = self.images.get(of)?.parent.as_ref();
        }
        is_named.then_some(image)
    }

    pub fn insert(&mut self, id: &str, image: Image) {
        self.directory.insert(image.name.clone(), id.to_owned());
        self.images.insert(id.to_owned(), image);
    }

    pub fn entries(&self, call: &str, object: &str) -> Result<&Entries, PoolError> {
        let entries = self.objects.get(object);
        entries.ok_or_else(|| PoolError::new(call, object, libc::ENOENT))
    }

    /// Applies a compare-and-swap, or returns the errno.
    pub fn transaction(&mut self, object: &str, transaction: &Transaction) -> Result<(), i32> {
        let stored = self.objects.get_mut(object).ok_or(libc::ENOENT)?;
        // A missing key compares equal to an empty value.
        let empty = Vec::new();
        let holds = |(key, expected): (&String, &Option<Vec<u8>>)| {
            stored.get(key).unwrap_or(&empty) == expected.as_ref().unwrap_or(&empty)
        };
        if !transaction.expect.iter().all(holds) {
            return Err(libc::ECANCELED);
        }
        for key in &transaction.remove {
            stored.remove(key);
        }
        stored.extend(transaction.set.clone());
        Ok(())
    }

    pub fn watch(&mut self, image_id: &str, watcher: Watcher) {
        self.watches.push(Watch {
            image_id: image_id.to_owned(),
            watcher,
            ends: None,
        });
    }

    pub fn unwatch(&mut self, address: &str, cookie: u64) {
        self.watches
            .retain(|w| w.watcher.address != address || w.watcher.cookie != cookie);
    }

    /// The client is dead. The cluster detects that at that time.
    pub fn abandon_watches(&mut self, address: &str, ends: u64) {
        let abandoned = self.watches.iter_mut();
        for watch in abandoned.filter(|w| w.watcher.address == address) {
            watch.ends = Some(ends);
        }
    }

    /// The client is back before the cluster has detected its death, or connects again.
    pub fn resume_watches(&mut self, address: &str) {
        let resumed = self.watches.iter_mut();
        for watch in resumed.filter(|w| w.watcher.address == address) {
            watch.ends = None;
        }
    }

    pub fn expire(&mut self, now: u64) {
        self.blocklist.retain(|_, until| now < *until);
        self.watches
            .retain(|w| w.ends.is_none_or(|ends| now < ends));
    }

    pub fn watchers(&self, image_id: &str) -> Vec<Watcher> {
        let watches = self.watches.iter().filter(|w| w.image_id == image_id);
        watches.map(|w| w.watcher.clone()).collect()
    }

    /// Blocklisting a client removes its watches.
    pub fn blocklist(&mut self, address: &str, until: u64) {
        self.blocklist.insert(address.to_owned(), until);
        self.watches.retain(|w| w.watcher.address != address);
    }

    /// Notes a purge, or a request for one, of an image that an object's omap still names.
    pub fn audit_purge(&mut self, id: &str) {
        let named = format!("\"id\":\"{id}\"");
        let entries = self.objects.values().flatten();
        // A lineage keeps no image: its snapshots do.
        let mut others =
            entries.filter(|(key, _)| !(key.starts_with("trash.") || key.starts_with("lineage.")));
        if others.any(|(_, value)| String::from_utf8_lossy(value).contains(&named)) {
            self.wrong_purges.push(id.to_owned());
        }
    }

    /// Frees a trashed image. Returns `false` if a client watches it or it has snapshots.
    pub fn purge(&mut self, id: &str) -> bool {
        let stays = |i: &Image| !i.snapshots.is_empty() || i.group.is_some() || i.is_read_only();
        if self.images.get(id).is_some_and(stays) || !self.watchers(id).is_empty() {
            return false;
        }
        self.trash.remove(id);
        self.scheduled.remove(id);
        let purged = self.images.remove(id);
        // A purge removes only the objects within the image's size.
        if purged
            .as_ref()
            .is_some_and(|image| image.size < image.whiteouts)
        {
            self.leaks.push(id.to_owned());
        }
        let parent = purged.and_then(|image| image.parent);
        if let Some((parent_id, snapshot_id)) = parent {
            self.drop_removed(&parent_id, snapshot_id);
        }
        true
    }

    /// Whether a clone needs a snapshot, or a snapshot of a clone.
    pub(super) fn has_clones(&self, image_id: &str, snapshot_id: u64) -> bool {
        let parent = Some((image_id.to_owned(), snapshot_id));
        let needs = |image: &Image| {
            image.parent == parent || image.snapshots.iter().any(|s| s.parent == parent)
        };
        self.images.values().any(needs)
    }

    /// Drops a removed snapshot after its last clone, and then the one that it depends on, if that has no
    /// other clone.
    pub fn drop_removed(&mut self, image_id: &str, snapshot_id: u64) {
        if self.has_clones(image_id, snapshot_id) {
            return;
        }
        let Some(image) = self.images.get_mut(image_id) else {
            return;
        };
        let mut snapshots = image.snapshots.iter();
        let Some(index) = snapshots.position(|s| s.id == snapshot_id && s.removed) else {
            return;
        };
        if let Some((parent, snapshot)) = image.snapshots.remove(index).parent {
            self.drop_removed(&parent, snapshot);
        }
    }

    /// Makes the snapshots of another image the parents of an image's clones.
    pub fn relink(&mut self, from: &str, to: &str, snapshots: &[(u64, u64)]) {
        for image in self.images.values_mut() {
            let own = image.snapshots.iter_mut().map(|s| &mut s.parent);
            for parent in own.chain([&mut image.parent]).flatten() {
                let new = snapshots.iter().find(|(old, _)| *old == parent.1);
                if let (true, Some((_, new))) = (parent.0 == from, new) {
                    *parent = (to.to_owned(), *new);
                }
            }
        }
    }

    /// Flattens a clone. Its snapshots keep its parent.
    pub fn flatten(&mut self, id: &str) {
        let parent = self.images.get_mut(id).and_then(|i| i.parent.take());
        if let Some((parent, snapshot)) = parent {
            self.drop_removed(&parent, snapshot);
        }
    }

    pub fn run_manager(&mut self) {
        for id in std::mem::take(&mut self.to_flatten) {
            self.flatten(&id);
        }
        for id in self.scheduled.clone() {
            if self.trash.contains(&id) {
                self.audit_purge(&id);
                self.purge(&id);
            } else {
                self.scheduled.remove(&id);
            }
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            objects: self.objects.clone(),
            images: self.directory.clone(),
            sizes: self
                .images
                .iter()
                .map(|(id, i)| (id.clone(), i.size))
                .collect(),
            snapshots: self
                .images
                .iter()
                .flat_map(|(id, i)| i.snapshots.iter().map(|s| (id.clone(), s.id, s.removed)))
                .collect(),
            trash: self.trash.clone(),
            scheduled: self.scheduled.clone(),
            to_flatten: self.to_flatten.clone(),
            blocklist: self.blocklist.keys().cloned().collect(),
        }
    }
}

/// The content of a pool at one moment, for comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Omap by object.
    pub objects: BTreeMap<String, Entries>,
    /// Image id by name, without the trash.
    pub images: BTreeMap<String, String>,
    /// Size in bytes by image id, with the trash.
    pub sizes: BTreeMap<String, u64>,
    /// Snapshots by image id and id, and whether Ceph keeps them only for clones.
    pub snapshots: BTreeSet<(String, u64, bool)>,
    /// Ids of the images in the trash.
    pub trash: BTreeSet<String>,
    /// Ids of those that ceph-mgr was asked to free.
    pub scheduled: BTreeSet<String>,
    /// Ids of the images that ceph-mgr was asked to flatten.
    pub to_flatten: BTreeSet<String>,
    /// Blocklisted addresses.
    pub blocklist: BTreeSet<String>,
}
