//! Taking over images of a real pool.

use librbd::SnapId;
use nix::libc;

use super::{CephPool, ID_OBJECT_PREFIX};
use crate::pool::{PoolError, Result, Takeover, META_KEY};

impl CephPool {
    /// Removes the object of a name that an interrupted rename has left. With it, a kernel would still find
    /// the image by that name.
    fn remove_left_name(&self, name: &str, id: &str) -> Result<()> {
        if self.pool.image_id(name)?.as_deref() != Some(id) {
            return Ok(());
        }
        match self
            .pool
            .remove_object(&format!("{ID_OBJECT_PREFIX}{name}"))
        {
            Err(e) if e.is_not_found() => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Takeover for CephPool {
    fn rename_image(&self, id: &str, from: &str, to: &str) -> Result<()> {
        let named = self.pool.image_name(id)?;
        if named.as_deref() == Some(from) {
            self.remove_left_name(to, id)?;
            self.pool.image_rename(from, to)?;
        } else if named.as_deref() != Some(to) {
            return Err(PoolError::new("rbd_rename", from, libc::ENOENT));
        }
        self.remove_left_name(from, id)
    }

    fn set_image_meta(&self, id: &str, meta: Option<&str>) -> Result<()> {
        let image = self.open_image(id, false)?;
        match meta {
            Some(text) => image.metadata_set(META_KEY, text)?,
            None => match image.metadata_remove(META_KEY) {
                Err(e) if e.is_not_found() => {}
                other => other?,
            },
        }
        Ok(image.close()?)
    }

    fn set_protected(&self, id: &str, snapshot_id: u64, protect: bool) -> Result<()> {
        let header = self.pool.header(id);
        if header.is_protected(SnapId(snapshot_id))? == protect {
            return Ok(());
        }
        let name = header.snapshot_name(SnapId(snapshot_id))?;
        let image = self.open_image(id, false)?;
        match protect {
            true => image.snapshot_protect(&name)?,
            false => image.snapshot_unprotect(&name)?,
        }
        Ok(image.close()?)
    }

    fn parent(&self, id: &str) -> Result<Option<(String, bool)>> {
        let parent = self
            .open_image(id, true)?
            .parent()?
            .map(|parent| parent.image);
        Ok(parent.map(|image| {
            let is_here =
                image.pool_id == self.pool.id() && image.namespace == self.pool.namespace();
            (image.image_id, is_here)
        }))
    }
}
