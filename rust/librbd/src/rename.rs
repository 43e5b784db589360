//! Renames an image.

use crate::buffer::c_string;
use crate::error::{check, Result};
use crate::image::ImageRef;
use crate::pool::Pool;

impl Pool {
    /// Renames an image. Its id, its snapshots and its clones stay. A kernel that has it mapped keeps the old
    /// name.
    ///
    /// librbd makes an object for the new name, changes the directory, and removes the object of the old name.
    /// A client that is killed in between leaves one object too many.
    ///
    /// # Errors
    /// [`Error::is_already_there`](crate::Error::is_already_there) if an image has the new name; EBUSY if a
    /// lock was set on it by hand.
    ///
    /// Implements: `int rbd_rename(rados_ioctx_t src_io_ctx, const char *srcname, const char *destname)`.
    pub fn image_rename(&self, from: &str, to: &str) -> Result<()> {
        let (pool, path) = (self.clone(), self.path(from));
        let (c_from, c_to) = (c_string("image name", from)?, c_string("image name", to)?);
        let renamed = self
            .cluster()
            .patience()
            .change_in_time("rbd_rename", &path, {
                let (path, owned) = (path.clone(), from.to_owned());
                move || {
                    pool.refuse_if_locked("rbd_rename", &owned)?;
                    let (rbd, from, to) = (pool.rbd()?, c_from.as_ptr(), c_to.as_ptr());
                    // SAFETY: the ioctx is valid; the names are C strings.
                    let renamed = unsafe { rbd.rbd_rename(pool.raw(), from, to) };
                    check("rbd_rename", || path, renamed).map(|_| ())
                }
            });
        renamed.map_err(|error| self.explain(&ImageRef::Name(from), error))
    }
}
