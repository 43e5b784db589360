//! Snapshots of several images at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use librbd::Image;

use crate::pool::{Pool, PoolError, Result};

/// Images that are open for snapshots. A disk is paused while its snapshot is taken, and opening its image takes as
/// long as that.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<HashMap<String, Arc<Image>>>>);

impl Held {
    /// Opens images, at once.
    pub(super) fn open(&self, ids: &[&str], open: impl Fn(&str) -> Result<Image> + Sync) {
        thread::scope(|scope| {
            for id in ids {
                let open = &open;
                scope.spawn(move || match open(id) {
                    Ok(image) => drop(self.images().insert((*id).to_owned(), Arc::new(image))),
                    Err(e) => log::warn!("image {id} is not open before its snapshot: {e}"),
                });
            }
        });
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Image>> {
        self.images().get(id).cloned()
    }

    /// Closes all, at once.
    pub(super) fn close(&self) {
        let images = std::mem::take(&mut *self.images());
        thread::scope(|scope| {
            for (id, image) in images {
                scope.spawn(move || {
                    if let Some(Err(e)) = Arc::into_inner(image).map(Image::close) {
                        log::warn!("closing image {id} after its snapshot: {e}");
                    }
                });
            }
        });
    }

    fn images(&self) -> MutexGuard<'_, HashMap<String, Arc<Image>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the snapshots in parallel: the monitors then commit the ids of all of them at once.
pub(super) fn create<P: Pool + Sync>(pool: &P, wanted: &[(&str, &str)]) -> Vec<Result<u64>> {
    thread::scope(|scope| {
        let each = wanted.iter();
        let threads: Vec<_> = each
            .map(|(image_id, name)| scope.spawn(|| pool.create_snapshot(image_id, name)))
            .collect();
        let results = threads.into_iter().zip(wanted);
        let results = results.map(|(thread, (image_id, _))| match thread.join() {
            Ok(result) => result,
            // A panic: it is unknown whether the snapshot was taken.
            Err(_) => Err(PoolError::new(
                PoolError::SNAPSHOT,
                image_id,
                nix::libc::ETIMEDOUT,
            )),
        });
        results.collect()
    })
}
