//! What an administrator does to images with `rbd`, outside smblock.

use super::pool_state::{Image, ImageSnapshot, PoolState, TRASH_OBJECT};
use super::Sim;
use crate::image_features::ImageFeatures;
use crate::pool::{SnapshotKind, Watcher, MIGRATING};

impl Sim {
    /// `rbd trash mv`. Returns the image's id.
    pub fn move_to_trash(&self, name: &str) -> Option<String> {
        let pool = &mut self.lock().pool;
        let id = pool.directory.remove(name)?;
        pool.objects.entry(TRASH_OBJECT.to_owned()).or_default();
        pool.trash.insert(id.clone());
        Some(id)
    }

    /// `rbd trash restore`, under the name that the image had.
    pub fn restore_from_trash(&self, id: &str) {
        let pool = &mut self.lock().pool;
        if !pool.trash.remove(id) {
            return;
        }
        if let Some(image) = pool.images.get(id) {
            pool.directory.insert(image.name.clone(), id.to_owned());
        }
    }

    /// `rados rm rbd_directory`: the pool loses the names of its images.
    pub fn lose_directory(&self) {
        self.lock().pool.directory.clear();
    }

    /// `rados rm rbd_header.ID`.
    pub fn lose_header(&self, id: &str) {
        self.lock().pool.images.remove(id);
    }

    /// `rados setomapval rbd_directory` of an image's two entries.
    pub fn list_again(&self, id: &str) {
        let pool = &mut self.lock().pool;
        if let Some(image) = pool.images.get(id) {
            pool.directory.insert(image.name.clone(), id.to_owned());
        }
    }

    /// `rbd rename`.
    pub fn rename_image(&self, name: &str, new: &str) {
        let pool = &mut self.lock().pool;
        let Some(id) = pool.directory.remove(name) else {
            return;
        };
        if let Some(image) = pool.images.get_mut(&id) {
            new.clone_into(&mut image.name);
        }
        pool.directory.insert(new.to_owned(), id);
    }

    /// Does something to the image of that name.
    fn with_image(&self, name: &str, act: impl FnOnce(&mut Image)) {
        let pool = &mut self.lock().pool;
        let id = pool.directory.get(name);
        if let Some(image) = id.and_then(|id| pool.images.get_mut(id)) {
            act(image);
        }
    }

    /// `rbd encryption format`.
    pub fn encrypt(&self, name: &str) {
        self.with_image(name, |image| image.is_encrypted = true);
    }

    /// `rbd group image add`, to a group of the image's pool.
    pub fn add_to_group(&self, name: &str, group: &str) {
        self.with_image(name, |image| image.group = Some(group.to_owned()));
    }

    /// Sets whether the driver's user may change groups. Groups may be in a pool in which it has no rights.
    pub fn set_groups_open(&self, open: bool) {
        self.lock().pool.closed_groups = !open;
    }

    /// `rbd snap create` (or what makes a snapshot in another namespace). Returns the snapshot's id.
    pub fn snapshot_by_hand(&self, name: &str, snapshot: &str, kind: SnapshotKind) -> u64 {
        let id = self.lock().number();
        self.with_image(name, |image| {
            let taken = ImageSnapshot::of(image, id, snapshot, kind);
            image.snapshots.push(taken);
        });
        id
    }

    /// `rbd snap protect` and `rbd snap unprotect`, of every snapshot of an image.
    pub fn protect_snapshots(&self, name: &str, protect: bool) {
        self.with_image(name, |image| {
            for snapshot in &mut image.snapshots {
                snapshot.protected = protect;
            }
        });
    }

    /// `rbd snap rm`, or what removes those of another namespace: of every snapshot of an image.
    pub fn remove_snapshots(&self, name: &str) {
        self.with_image(name, |image| image.snapshots.clear());
    }

    /// `rbd clone`, of each snapshot of an image, to `to.<number>`.
    pub fn clone_by_hand(&self, name: &str, to: &str) {
        let mut state = self.lock();
        let Some(id) = state.pool.directory.get(name).cloned() else {
            return;
        };
        for snapshot in state.pool.images[&id].snapshots.clone() {
            let number = state.number();
            let mut image = Image::new(&format!("{to}.{number}"), snapshot.size, 1, None);
            image.parent = Some((id.clone(), snapshot.id));
            image.is_format_1 = snapshot.protected;
            image.content = snapshot.content;
            state.pool.insert(&format!("c{number:x}"), image);
        }
    }

    /// `rbd flatten`.
    pub fn flatten_by_hand(&self, name: &str) {
        let pool = &mut self.lock().pool;
        if let Some(id) = pool.directory.get(name).cloned() {
            pool.flatten(&id);
        }
    }

    /// `rbd snap limit set`, and with `None` `rbd snap limit clear`.
    pub fn limit_snapshots(&self, name: &str, limit: Option<u64>) {
        self.with_image(name, |image| image.limit = limit);
    }

    /// `rbd feature enable`, `rbd mirror image demote` and others that change an image's features.
    pub fn set_features(&self, name: &str, features: u64) {
        self.with_image(name, |image| image.features = features);
    }

    /// `rbd image-meta set`, and with `None` `rbd image-meta remove`, of the driver's key.
    pub fn set_image_meta(&self, name: &str, meta: Option<&str>) {
        self.with_image(name, |image| image.meta = meta.map(str::to_owned));
    }

    /// `rbd rm` and `rbd import` of a copy, which keeps the image-meta if it was exported with
    /// `--export-format 2`. Snapshots keep their names and get other ids. Returns the new id.
    pub fn import_over(&self, name: &str, keeps_meta: bool) -> Option<String> {
        let mut state = self.lock();
        let old = state.pool.directory.remove(name)?;
        let mut image = state.pool.images.remove(&old)?;
        image.meta = image.meta.filter(|_| keeps_meta);
        for at in 0..image.snapshots.len() {
            image.snapshots[at].id = state.number();
        }
        let id = format!("i{:x}", state.number());
        state.pool.insert(&id, image);
        Some(id)
    }

    /// `rbd migration prepare POOL/IMAGE POOL/IMAGE`: another image takes the name, and the source
    /// goes to the trash. Returns the new image's id.
    pub fn prepare_migration(&self, name: &str) -> Option<String> {
        let mut state = self.lock();
        let old = state.pool.directory.remove(name)?;
        let source = state.pool.images.get_mut(&old)?;
        source.features |= MIGRATING;
        let mut image = source.clone();
        for at in 0..image.snapshots.len() {
            image.snapshots[at].id = state.number();
        }
        let id = format!("m{:x}", state.number());
        // The new image becomes the parent of the clones.
        let relinked = state.pool.images[&old]
            .snapshots
            .iter()
            .zip(&image.snapshots);
        let relinked: Vec<_> = relinked.map(|(old, new)| (old.id, new.id)).collect();
        state.pool.relink(&old, &id, &relinked);
        state.pool.trash.insert(old.clone());
        state.pool.migrations.insert(old, id.clone());
        state.pool.insert(&id, image);
        Some(id)
    }

    /// `rbd migration execute` and `commit`: the source is removed.
    pub fn commit_migration(&self, name: &str) {
        self.end_migration(name, |pool, old, new| {
            pool.images.remove(old);
            if let Some(image) = pool.images.get_mut(new) {
                image.features &= !MIGRATING;
            }
        });
    }

    /// `rbd migration abort`: the source gets its name back.
    pub fn abort_migration(&self, name: &str) {
        self.end_migration(name, |pool, old, new| {
            let moved = pool.images.remove(new);
            let back = moved.into_iter().flat_map(|image| image.snapshots);
            let kept = pool.images[old].snapshots.iter();
            let back: Vec<_> = back.zip(kept).map(|(new, old)| (new.id, old.id)).collect();
            pool.relink(new, old, &back);
            if let Some(image) = pool.images.get_mut(old) {
                image.features &= !MIGRATING;
                pool.directory.insert(image.name.clone(), old.to_owned());
            }
        });
    }

    /// `rbd migration prepare`, `execute` and `commit`, to another pool.
    pub fn migrate_away(&self, name: &str) {
        let pool = &mut self.lock().pool;
        let id = pool.directory.remove(name);
        if let Some(image) = id.and_then(|id| pool.images.remove(&id)) {
            pool.elsewhere.insert(name.to_owned(), image);
        }
    }

    /// `rbd migration prepare`, `execute` and `commit`, back to this pool: image and snapshots get other ids.
    pub fn migrate_back(&self, name: &str) {
        let mut state = self.lock();
        let Some(mut image) = state.pool.elsewhere.remove(name) else {
            return;
        };
        for at in 0..image.snapshots.len() {
            image.snapshots[at].id = state.number();
        }
        let id = format!("m{:x}", state.number());
        state.pool.insert(&id, image);
    }

    fn end_migration(&self, name: &str, end: impl FnOnce(&mut PoolState, &str, &str)) {
        let pool = &mut self.lock().pool;
        let Some(new) = pool.directory.get(name).cloned() else {
            return;
        };
        let mut migrations = pool.migrations.iter();
        let Some(old) = migrations.find(|m| *m.1 == new).map(|m| m.0.clone()) else {
            return;
        };
        pool.migrations.remove(&old);
        pool.trash.remove(&old);
        end(pool, &old, &new);
    }

    /// `rbd lock add`, or with `None` `rbd lock rm`.
    pub fn lock_by_hand(&self, name: &str, lock: Option<&str>) {
        let pool = &mut self.lock().pool;
        let id = pool.directory.get(name);
        if let Some(image) = id.and_then(|id| pool.images.get_mut(id)) {
            image.lock = lock.map(str::to_owned);
        }
    }

    /// A process opens the image for writing with librbd, as `rbd import` does. Returns the client's address.
    pub fn open_by_hand(&self, name: &str) -> String {
        let mut state = self.lock();
        let client_id = state.number();
        let watcher = Watcher {
            address: format!("10.0.0.99:0/{client_id}"),
            client_id,
            cookie: 1,
        };
        let address = watcher.address.clone();
        if let Some(id) = state.pool.directory.get(name).cloned() {
            state.pool.watch(&id, watcher);
        }
        address
    }

    /// That process ends.
    pub fn close_by_hand(&self, address: &str) {
        self.lock().pool.unwatch(address, 1);
    }

    /// `rbd mirror image demote`.
    pub fn demote(&self, name: &str) {
        let pool = &mut self.lock().pool;
        let id = pool.directory.get(name);
        if let Some(image) = id.and_then(|id| pool.images.get_mut(id)) {
            image.features |= ImageFeatures::NON_PRIMARY.bits();
        }
    }

    /// Writes to an image that no host has mapped, as `rbd import-diff` or `rbd-nbd` does.
    pub fn write_by_hand(&self, name: &str, content: u64) {
        let pool = &mut self.lock().pool;
        if let Some(image) = pool
            .directory
            .get(name)
            .and_then(|id| pool.images.get_mut(id))
        {
            image.content = content;
        }
    }

    /// The ids of the images that were purged, or that ceph-mgr was asked to purge, while anything other than
    /// a mark of the trash named them.
    pub fn wrong_purges(&self) -> Vec<String> {
        self.lock().pool.wrong_purges.clone()
    }

    /// The ids of the images whose purge left objects in the pool.
    pub fn leaks(&self) -> Vec<String> {
        self.lock().pool.leaks.clone()
    }
}
