//! Taking over images of the simulator.

use nix::libc;

use super::client::MemoryPool;
use crate::pool::{PoolError, Result, Takeover};

impl Takeover for MemoryPool {
    fn rename_image(&self, id: &str, from: &str, to: &str) -> Result<()> {
        let fail = |errno| Err(PoolError::new("rename_image", from, errno));
        let pool = &mut self.request_lock("rename_image", id)?.pool;
        let has = |name: &str| pool.directory.get(name).map(String::as_str);
        match (has(from), has(to)) {
            (_, Some(found)) if found == id => return Ok(()),
            (Some(found), None) if found == id => {}
            (_, Some(_)) => return fail(libc::EEXIST),
            _ => return fail(libc::ENOENT),
        }
        let Some(image) = pool.images.get_mut(id) else {
            return fail(libc::ENOENT);
        };
        if image.is_read_only() {
            return fail(libc::EROFS);
        }
        to.clone_into(&mut image.name);
        pool.directory.remove(from);
        pool.directory.insert(to.to_owned(), id.to_owned());
        Ok(())
    }

    fn set_image_meta(&self, id: &str, meta: Option<&str>) -> Result<()> {
        let pool = &mut self.request_lock("set_image_meta", id)?.pool;
        let image = pool.images.get_mut(id);
        let image = image.ok_or_else(|| PoolError::new("set_image_meta", id, libc::ENOENT))?;
        image.meta = meta.map(str::to_owned);
        Ok(())
    }

    fn set_protected(&self, id: &str, snapshot_id: u64, protect: bool) -> Result<()> {
        let pool = &mut self.request_lock("set_protected", id)?.pool;
        let parent = Some((id.to_owned(), snapshot_id));
        let mut images = pool.images.values();
        let is_needed = images.any(|image| image.is_format_1 && image.parent == parent);
        let image = pool.images.get_mut(id);
        let snapshot = image.and_then(|image| {
            let mut snapshots = image.snapshots.iter_mut();
            snapshots.find(|s| s.id == snapshot_id && !s.removed)
        });
        let missing = || PoolError::new("set_protected", id, libc::ENOENT);
        let snapshot = snapshot.ok_or_else(missing)?;
        if snapshot.protected && !protect && is_needed {
            return Err(PoolError::new("set_protected", id, libc::EBUSY));
        }
        snapshot.protected = protect;
        Ok(())
    }

    fn parent(&self, id: &str) -> Result<Option<(String, bool)>> {
        let parent = self.open("parent", id, |image| image.parent.clone())?;
        Ok(parent.map(|(image, _)| (image, true)))
    }
}
