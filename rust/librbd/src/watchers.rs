//! Who has an image open for writing.

use crate::buffer::{copy_text, is_too_short};
use crate::error::Result;
use crate::ffi::rbd::rbd_image_watcher_t;
use crate::image::Image;

/// A client that watches an image's header: a kernel that mapped it, or a librbd that opened it for
/// writing (this one's own handle among them). That somebody watches does not prove that he writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    /// The client's address, as [`Cluster::blocklist`](crate::Cluster::blocklist) takes it.
    pub address: String,
    /// The client's number, as of [`Cluster::instance_id`](crate::Cluster::instance_id).
    pub client_id: i64,
    /// The number of the watch within the client.
    pub cookie: u64,
}

impl Image {
    /// Who watches the image.
    ///
    /// Implements: `int rbd_watchers_list(rbd_image_t image, rbd_image_watcher_t *watchers,
    /// size_t *max_watchers)`; the strings are given back with `void
    /// rbd_watchers_list_cleanup(rbd_image_watcher_t *watchers, size_t num_watchers)`.
    pub fn watchers(&self) -> Result<Vec<Watcher>> {
        let rbd = self.rbd();
        let mut room = 16;
        loop {
            let mut raw: Vec<rbd_image_watcher_t> = Vec::with_capacity(room);
            let mut count = raw.capacity();
            // SAFETY: the image is open; there is room for `count` entries.
            let got = unsafe { rbd.rbd_watchers_list(self.raw(), raw.as_mut_ptr(), &mut count) };
            match self.check("rbd_watchers_list", got) {
                Err(error) if is_too_short(&error) => room = count + 16,
                Err(error) => return Err(error),
                Ok(_) => {
                    // SAFETY: librbd filled `count` entries, at most the capacity; the strings are
                    // copied before they are freed, once.
                    return Ok(unsafe {
                        raw.set_len(count);
                        let watchers = raw.iter().map(|watcher| Watcher {
                            address: copy_text(watcher.addr),
                            client_id: watcher.id,
                            cookie: watcher.cookie,
                        });
                        let watchers = watchers.collect();
                        rbd.rbd_watchers_list_cleanup(raw.as_mut_ptr(), count);
                        watchers
                    });
                }
            }
        }
    }
}
