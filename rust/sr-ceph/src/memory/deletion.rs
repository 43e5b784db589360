//! Deleting images of the simulator.

use nix::libc;

use super::client::MemoryPool;
use super::pool_state::{Image, TRASH_OBJECT};
use crate::pool::{Deletion, Entries, Pool, PoolError, Progress, Result, TrashedImage};

impl Deletion for MemoryPool {
    fn prepare_trash(&self) -> Result<()> {
        match self.create_object(TRASH_OBJECT, &Entries::new()) {
            Err(e) if e.is_already_there() => Ok(()),
            other => other,
        }
    }

    fn trash_image(&self, name: &str) -> Result<()> {
        let missing = || PoolError::new("trash_image", name, libc::ENOENT);
        let pool = &mut self.request("trash_image", name)?.pool;
        if !pool.objects.contains_key(TRASH_OBJECT) {
            if pool.full {
                return Err(missing()); // librbd returns this errno
            }
            pool.objects.insert(TRASH_OBJECT.to_owned(), Entries::new());
        }
        let id = pool.directory.get(name).cloned().ok_or_else(missing)?;
        let image = pool.images.get(&id);
        if image.is_some_and(Image::is_read_only) {
            return Err(PoolError::new("trash_image", name, libc::EROFS));
        }
        if image.is_some_and(|image| image.lock.is_some()) {
            return Err(PoolError::new("trash_image", name, libc::EBUSY));
        }
        pool.directory.remove(name);
        pool.trash.insert(id);
        Ok(())
    }

    fn trash(&self) -> Result<Vec<TrashedImage>> {
        let state = self.request("trash", TRASH_OBJECT)?;
        let named = |id: &String| {
            let name = state.pool.images.get(id).map(|image| image.name.clone());
            name.map(|name| TrashedImage {
                id: id.clone(),
                name,
                migrating: state.pool.migrations.contains_key(id),
            })
        };
        Ok(state.pool.trash.iter().filter_map(named).collect())
    }

    fn schedule_purge(&self, id: &str) -> Result<()> {
        let fail = |errno| Err(PoolError::new("schedule_purge", id, errno));
        let pool = &mut self.request("schedule_purge", id)?.pool;
        if pool.without_manager {
            return fail(libc::ETIMEDOUT);
        }
        if !pool.trash.contains(id) {
            return fail(libc::ENOENT);
        }
        pool.audit_purge(id);
        pool.scheduled.insert(id.to_owned());
        Ok(())
    }

    fn purge(&self, id: &str, _progress: Progress<'_>) -> Result<()> {
        let fail = |errno| Err(PoolError::new("purge", id, errno));
        let pool = &mut self.request_lock("purge", id)?.pool;
        if !pool.trash.contains(id) {
            return fail(libc::ENOENT);
        }
        pool.audit_purge(id);
        if pool.purge(id) {
            return Ok(());
        }
        match pool.images.get(id) {
            Some(image) if image.is_read_only() => fail(libc::EROFS),
            Some(image) if image.group.is_some() => fail(libc::EMLINK),
            Some(image) if !image.snapshots.is_empty() => fail(libc::ENOTEMPTY),
            _ => fail(libc::EBUSY),
        }
    }
}
