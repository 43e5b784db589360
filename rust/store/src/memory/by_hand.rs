//! What an administrator does to images with `rbd`, past the driver.

use super::pool::TRASH_OBJECT;
use super::World;

impl World {
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

    /// The images that were purged, or that the manager was asked to purge, while something else than
    /// a mark of the trash named them: by id.
    pub fn wrong_purges(&self) -> Vec<String> {
        self.lock().pool.wrong_purges.clone()
    }

    /// The images that have left objects in the pool when they were purged: by id.
    pub fn leaks(&self) -> Vec<String> {
        self.lock().pool.leaks.clone()
    }
}
