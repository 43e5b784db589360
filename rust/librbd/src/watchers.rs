//! Lists the clients that have an image open for writing.

use crate::buffer::{copy_text, list};
use crate::error::Result;
use crate::ffi::rbd::rbd_image_watcher_t;
use crate::image::Image;

/// A client that watches an image's header: a kernel that mapped it, or a librbd that opened it for writing
/// (also this process). A watcher does not necessarily write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    /// The client's address, for [`Cluster::blocklist`](crate::Cluster::blocklist).
    pub address: String,
    /// The client's number: see [`Cluster::instance_id`](crate::Cluster::instance_id).
    pub client_id: i64,
    /// The number of the watch in the client.
    pub cookie: u64,
}

impl Image {
    /// Returns the watchers of the image.
    ///
    /// Implements: `int rbd_watchers_list(rbd_image_t image, rbd_image_watcher_t *watchers,
    /// size_t *max_watchers)`; the strings are freed with `void
    /// rbd_watchers_list_cleanup(rbd_image_watcher_t *watchers, size_t num_watchers)`.
    pub fn watchers(&self) -> Result<Vec<Watcher>> {
        self.read("rbd_watchers_list", Self::watchers_now)
    }

    /// As [`Image::watchers`], without a deadline.
    pub(crate) fn watchers_now(&self) -> Result<Vec<Watcher>> {
        let rbd = self.rbd();
        // SAFETY: the image is open; rbd_watchers_list fills as `list` requires, with C strings
        // that rbd_watchers_list_cleanup frees.
        unsafe {
            list(
                16,
                |watchers, count| {
                    let listed = rbd.rbd_watchers_list(self.raw(), watchers, count);
                    self.check("rbd_watchers_list", listed)
                },
                |watcher: &rbd_image_watcher_t| Watcher {
                    address: copy_text(watcher.addr),
                    client_id: watcher.id,
                    cookie: watcher.cookie,
                },
                |watchers, count| rbd.rbd_watchers_list_cleanup(watchers, count),
            )
        }
    }
}
