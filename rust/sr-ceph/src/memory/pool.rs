//! The requests of a client to the pool.

use std::collections::BTreeMap;

use nix::libc;

use super::client::{fsid, MemoryPool};
use super::pool_state::{Image, ImageSnapshot};
use super::report::{self, POOL_ID, POOL_NAME};
use crate::image_format::ImageFormat;
use crate::pool::{
    Entries, ImageHeader, ImageState, ImageUsers, Pool, PoolError, Progress, Result, SnapshotKind,
    Transaction, Watcher,
};

impl Pool for MemoryPool {
    fn fsid(&self) -> Result<String> {
        self.request("fsid", POOL_NAME).map(|_| fsid())
    }

    fn pool_id(&self) -> i64 {
        POOL_ID
    }

    fn pool_name(&self) -> &str {
        POOL_NAME
    }

    fn address(&self) -> Result<String> {
        self.request("address", POOL_NAME)
            .map(|_| self.address.clone())
    }

    fn blocklist(&self, address: &str, seconds: u32) -> Result<()> {
        let mut state = self.request("blocklist", address)?;
        if state.pool.without_blocklist {
            return Err(PoolError::new("rados_blocklist_add", address, libc::EACCES));
        }
        let until = state.clock + u64::from(seconds) * 1000;
        state.pool.blocklist(address, until);
        Ok(())
    }

    fn may_blocklist(&self) -> Result<()> {
        let state = self.request("may_blocklist", POOL_NAME)?;
        match state.pool.without_blocklist {
            true => Err(PoolError::new(
                "rados_mon_command",
                "osd blocklist",
                libc::EACCES,
            )),
            false => Ok(()),
        }
    }

    fn blocklisted(&self) -> Result<Vec<String>> {
        let state = self.request("blocklisted", POOL_NAME)?;
        Ok(state.pool.blocklist.keys().cloned().collect())
    }

    fn create_object(&self, object: &str, entries: &Entries) -> Result<()> {
        let fail = |errno| Err(PoolError::new("create_object", object, errno));
        let pool = &mut self.request("create_object", object)?.pool;
        if pool.objects.contains_key(object) {
            return fail(libc::EEXIST);
        }
        if pool.full {
            return fail(libc::EDQUOT);
        }
        pool.objects.insert(object.to_owned(), entries.clone());
        Ok(())
    }

    fn read(&self, object: &str, prefix: &str) -> Result<Entries> {
        let state = self.request("read", object)?;
        let mut found = state.pool.entries("read", object)?.clone();
        found.retain(|key, _| key.starts_with(prefix));
        Ok(found)
    }

    fn get(&self, object: &str, keys: &[&str]) -> Result<Entries> {
        let state = self.request("get", object)?;
        let stored = state.pool.entries("get", object)?;
        let found = keys.iter().filter_map(|key| stored.get_key_value(*key));
        Ok(found.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn transaction(&self, object: &str, transaction: &Transaction) -> Result<()> {
        let pool = &mut self.request("swap", object)?.pool;
        let applied = pool.transaction(object, transaction);
        applied.map_err(|errno| PoolError::new("swap", object, errno))
    }

    fn remove_object(&self, object: &str, expect: &Entries) -> Result<()> {
        let pool = &mut self.request("remove_object", object)?.pool;
        let stored = pool.entries("remove_object", object)?;
        if expect
            .iter()
            .any(|(key, value)| stored.get(key) != Some(value))
        {
            return Err(PoolError::new("remove_object", object, libc::ECANCELED));
        }
        pool.objects.remove(object);
        Ok(())
    }

    /// An empty `meta`: the image has none, as after a crash between librbd's steps.
    fn create_image(
        &self,
        name: &str,
        size: u64,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String> {
        let fail = |errno| Err(PoolError::new("create_image", name, errno));
        let mut state = self.request("create_image", name)?;
        if state.pool.directory.contains_key(name) {
            return fail(libc::EEXIST);
        }
        if state.pool.full {
            return fail(libc::EDQUOT);
        }
        let id = format!("{:x}", state.number());
        let meta = Some(meta).filter(|meta| !meta.is_empty());
        state.pool.insert(
            &id,
            Image::new(name, size, format.needed_features().bits(), meta),
        );
        Ok(id)
    }

    fn create_snapshot(&self, image_id: &str, name: &str) -> Result<u64> {
        let fail = |errno| Err(PoolError::new("create_snapshot", image_id, errno));
        let mut state = self.request_lock("create_snapshot", image_id)?;
        let id = state.number();
        let Some(image) = state.pool.images.get_mut(image_id) else {
            return fail(libc::ENOENT);
        };
        if image.is_read_only() {
            return fail(libc::EROFS);
        }
        if image.snapshots.iter().any(|s| s.name == name && !s.removed) {
            return fail(libc::EEXIST);
        }
        if let Some(limit) = image.reached_limit() {
            let image = format!("{POOL_NAME}/{}", image.name);
            return Err(librbd::Error::SnapshotLimit { image, limit }.into());
        }
        let taken = ImageSnapshot::of(image, id, name, SnapshotKind::User);
        image.snapshots.push(taken);
        Ok(id)
    }

    fn remove_snapshot(&self, image_id: &str, snapshot_id: u64) -> Result<()> {
        let missing = || PoolError::new("remove_snapshot", image_id, libc::ENOENT);
        let pool = &mut self.request_lock("remove_snapshot", image_id)?.pool;
        let holds_parent = pool.holds_parent(image_id, snapshot_id);
        let image = pool.images.get_mut(image_id).ok_or_else(missing)?;
        let mut snapshots = image.snapshots.iter_mut();
        let snapshot = snapshots.find(|s| s.id == snapshot_id && !s.removed);
        let snapshot = snapshot.ok_or_else(missing)?;
        if snapshot.protected || holds_parent {
            let errno = libc::EBUSY;
            return Err(PoolError::new("remove_snapshot", image_id, errno));
        }
        snapshot.removed = true;
        pool.drop_removed(image_id, snapshot_id);
        Ok(())
    }

    fn is_unchanged_since(&self, image_id: &str, snapshot_id: u64) -> Result<bool> {
        let missing = || PoolError::new("is_unchanged_since", image_id, libc::ENOENT);
        let state = self.request("is_unchanged_since", image_id)?;
        let image = state.pool.images.get(image_id).ok_or_else(missing)?;
        let snapshot = image.snapshot(snapshot_id).ok_or_else(missing)?;
        Ok((snapshot.content, snapshot.size) == (image.content, image.size))
    }

    fn clone_image(
        &self,
        parent: (&str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String> {
        let fail = |errno| Err(PoolError::new("clone_image", name, errno));
        let mut state = self.request("clone_image", name)?;
        if state.pool.directory.contains_key(name) {
            return fail(libc::EEXIST);
        }
        if state.pool.full {
            return fail(libc::EDQUOT);
        }
        let Some(image) = state.pool.images.get(parent.0) else {
            return fail(libc::ENOENT);
        };
        let Some(snapshot) = image.snapshot(parent.1).cloned() else {
            return fail(libc::ENOENT);
        };
        // librbd copies the parent's image-meta to the clone.
        let inherited = image.meta.clone();
        let meta = Some(meta.to_owned()).filter(|meta| !meta.is_empty());
        let meta = meta.or(inherited);
        let id = format!("{:x}", state.number());
        let features = format.needed_features().bits();
        let mut image = Image::new(name, snapshot.size, features, meta.as_deref());
        image.content = snapshot.content;
        image.parent = Some((parent.0.to_owned(), parent.1));
        state.pool.insert(&id, image);
        Ok(id)
    }

    fn images(&self) -> Result<BTreeMap<String, String>> {
        let state = self.request("images", POOL_NAME)?;
        let directory = state.pool.directory.iter();
        Ok(directory
            .map(|(name, id)| (id.clone(), name.clone()))
            .collect())
    }

    fn image_name(&self, id: &str) -> Result<Option<String>> {
        Ok(self.images()?.remove(id))
    }

    fn users(&self, id: &str) -> Result<ImageUsers> {
        Ok(ImageUsers {
            snapshots: self.image(id)?.snapshots,
            watchers: self.watchers(id)?,
        })
    }

    fn header(&self, id: &str) -> Result<ImageHeader> {
        self.look("header", id, |image| ImageHeader {
            size: image.size,
            has_parent: image.parent.is_some(),
            snapshots: image.snapshots.len(),
        })
    }

    fn image(&self, id: &str) -> Result<ImageState> {
        self.open("image", id, |image| image.state(id))
    }

    fn image_by_name(&self, name: &str) -> Result<ImageState> {
        let request = self.request("image_by_name", name)?;
        let missing = || PoolError::new("image_by_name", name, libc::ENOENT);
        let id = request.pool.directory.get(name).ok_or_else(missing)?;
        let image = request.pool.images.get(id).ok_or_else(missing)?;
        Ok(image.state(id))
    }

    fn grow_image(&self, id: &str, size: u64) -> Result<()> {
        let fail = |errno| Err(PoolError::new("grow_image", id, errno));
        let pool = &mut self.request_lock("grow_image", id)?.pool;
        if pool.full {
            return fail(libc::EDQUOT);
        }
        match pool.images.get_mut(id) {
            None => fail(libc::ENOENT),
            Some(image) if image.is_read_only() => fail(libc::EROFS),
            Some(image) if size < image.size => fail(libc::EINVAL),
            Some(image) => {
                image.size = size;
                Ok(())
            }
        }
    }

    fn watchers(&self, id: &str) -> Result<Vec<Watcher>> {
        let state = self.request("watchers", id)?;
        if state.pool.openable(id).is_none() {
            return Err(PoolError::new("watchers", id, libc::ENOENT));
        }
        Ok(state.pool.watchers(id))
    }

    fn require_unlocked(&self, id: &str) -> Result<()> {
        let state = self.request_lock("require_unlocked", id)?;
        match state.pool.images.contains_key(id) {
            true => Ok(()),
            false => Err(PoolError::new("require_unlocked", id, libc::ENOENT)),
        }
    }

    fn schedule_flatten(&self, name: &str) -> Result<()> {
        let fail = |errno| Err(PoolError::new("schedule_flatten", name, errno));
        let pool = &mut self.request("schedule_flatten", name)?.pool;
        if pool.without_manager {
            return fail(libc::ETIMEDOUT);
        }
        let Some(id) = pool.directory.get(name).cloned() else {
            return fail(libc::ENOENT);
        };
        pool.to_flatten.insert(id);
        Ok(())
    }

    fn empty_image(&self, id: &str, progress: Progress<'_>) -> Result<()> {
        progress(0, 1); // it may send requests: nothing is locked yet
        let pool = &mut self.request_lock("empty_image", id)?.pool;
        let image = pool.images.get_mut(id);
        let image = image.ok_or_else(|| PoolError::new("empty_image", id, libc::ENOENT))?;
        if image.is_read_only() {
            return Err(PoolError::new("empty_image", id, libc::EROFS));
        }
        if image.parent.is_some() && !image.snapshots.is_empty() {
            image.whiteouts = image.whiteouts.max(image.size);
        }
        (image.size, image.content) = (0, 0);
        Ok(())
    }

    fn flatten_image(&self, id: &str, _progress: Progress<'_>) -> Result<()> {
        let fail = |errno| Err(PoolError::new("flatten_image", id, errno));
        let pool = &mut self.request_lock("flatten_image", id)?.pool;
        match pool.images.get(id) {
            None => fail(libc::ENOENT),
            Some(image) if image.parent.is_none() => fail(libc::EINVAL),
            Some(image) if image.is_read_only() => fail(libc::EROFS),
            Some(_) if pool.full => fail(libc::EDQUOT),
            Some(_) => {
                pool.flatten(id);
                Ok(())
            }
        }
    }

    fn df(&self) -> Result<Vec<u8>> {
        Ok(report::df(&self.request("df", POOL_NAME)?.pool))
    }

    fn osd_dump(&self) -> Result<Vec<u8>> {
        Ok(report::osd_dump(&self.request("osd_dump", POOL_NAME)?.pool))
    }
}
