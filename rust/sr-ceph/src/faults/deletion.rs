//! Fault injection for the calls that delete images.

use sr::faults::{change, read};

use super::pool::FaultyPool;
use crate::pool::{Deletion, Progress, Result, TrashedImage};

impl Deletion for FaultyPool<'_, '_> {
    fn prepare_trash(&self) -> Result<()> {
        self.call(&change("prepare_trash", ""), |c| c.prepare_trash())
    }

    fn trash_image(&self, name: &str) -> Result<()> {
        let owned = name.to_owned();
        self.call(&change("trash_image", name), move |c| c.trash_image(&owned))
    }

    fn trash(&self) -> Result<Vec<TrashedImage>> {
        self.call(&read("trash", ""), |c| c.trash())
    }

    fn schedule_purge(&self, id: &str) -> Result<()> {
        let owned = id.to_owned();
        self.call(&change("schedule_purge", id), move |c| {
            c.schedule_purge(&owned)
        })
    }

    fn purge(&self, id: &str, progress: Progress<'_>) -> Result<()> {
        let owned = id.to_owned();
        self.call_with_progress(&change("purge", id), progress, move |c| {
            c.purge(&owned, &mut |_, _| {})
        })
    }
}
