//! Deleting images of a real pool.

use librbd::TrashSource;

use super::{manager, CephPool};
use crate::pool::{Deletion, Pool, Progress, Result, TrashedImage};

impl Deletion for CephPool {
    fn prepare_trash(&self) -> Result<()> {
        Ok(self.pool.ensure_trash_object()?)
    }

    fn trash_image(&self, name: &str) -> Result<()> {
        Ok(self.pool.trash_move(name, 0)?)
    }

    fn trash(&self) -> Result<Vec<TrashedImage>> {
        let entries = self.pool.trash_list()?;
        let entries = entries.into_iter().map(|e| TrashedImage {
            id: e.id,
            name: e.name,
            migrating: e.source == TrashSource::Migration,
        });
        Ok(entries.collect())
    }

    fn schedule_purge(&self, id: &str) -> Result<()> {
        let prefix = "rbd task add trash remove";
        manager::ask(&self.cluster, prefix, "image_id_spec", (&self.spec(), id))
    }

    fn purge(&self, id: &str, progress: Progress<'_>) -> Result<()> {
        Ok(self.pool.trash_remove(id, false, progress)?)
    }
}
