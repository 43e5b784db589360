//! Counts the objects of a pool that hold the data of images.
//!
//! A listing sends one request after another to the OSDs. Here it is cut twice: a caller asks for one [`Part`]
//! of the pool, and each [`BATCH`] of objects in it has a deadline of its own. So a listing of any length can
//! be stopped between two parts, and one OSD that hangs ends it.

use std::collections::HashMap;

use nix::libc::c_char;

use crate::error::{check, Result};
use crate::ffi::rados::{rados_object_list_cursor, rados_object_list_item};
use crate::pool::Pool;

const CALL: &str = "rados_object_list";
/// The number of objects that one call returns at most.
const BATCH: usize = 4096;
/// The beginning of the name of each object with the data of an image of format 2.
const DATA: &str = "rbd_data.";

/// One of `of` parts of a pool, which have no object in common. Together they have all objects. An object's
/// part depends on its name only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub number: usize,
    /// The number of parts.
    pub of: usize,
}

/// What a part of a pool has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// The number of all its objects.
    pub listed: u64,
    /// The number of objects with data of an image, by the image's id. Images without data are left out.
    pub images: HashMap<String, u64>,
}

/// A position in a pool, freed on drop.
struct Cursor {
    pool: Pool,
    raw: rados_object_list_cursor,
}

// SAFETY: librados copies a cursor's value before it uses it, and keeps none; one thread has the cursor.
unsafe impl Send for Cursor {}

impl Cursor {
    /// Implements: `rados_object_list_cursor rados_object_list_begin(rados_ioctx_t io)`.
    fn begin(pool: &Pool) -> Self {
        // SAFETY: the ioctx is valid.
        let raw = unsafe { pool.rados().rados_object_list_begin(pool.raw()) };
        let pool = pool.clone();
        Cursor { pool, raw }
    }

    /// Implements: `rados_object_list_cursor rados_object_list_end(rados_ioctx_t io)`.
    fn end(pool: &Pool) -> Self {
        // SAFETY: the ioctx is valid.
        let raw = unsafe { pool.rados().rados_object_list_end(pool.raw()) };
        let pool = pool.clone();
        Cursor { pool, raw }
    }

    /// Implements: `int rados_object_list_cursor_cmp(rados_ioctx_t io, rados_object_list_cursor
    /// lhs, rados_object_list_cursor rhs)`.
    fn is_before(&self, other: &Self) -> bool {
        let (rados, io) = (self.pool.rados(), self.pool.raw());
        // SAFETY: the ioctx and both cursors are valid.
        unsafe { rados.rados_object_list_cursor_cmp(io, self.raw, other.raw) < 0 }
    }
}

impl Drop for Cursor {
    /// Implements: `void rados_object_list_cursor_free(rados_ioctx_t io,
    /// rados_object_list_cursor cur)`.
    fn drop(&mut self) {
        let (rados, io) = (self.pool.rados(), self.pool.raw());
        // SAFETY: the cursor is valid, and freed once; its ioctx lives.
        unsafe { rados.rados_object_list_cursor_free(io, self.raw) };
    }
}

/// A listing of a part of a pool.
struct Listing {
    at: Cursor,
    end: Cursor,
    counted: Counted,
}

impl Listing {
    /// Implements: `void rados_object_list_slice(rados_ioctx_t io, const
    /// rados_object_list_cursor start, const rados_object_list_cursor finish, const size_t n,
    /// const size_t m, rados_object_list_cursor *split_start, rados_object_list_cursor
    /// *split_finish)`.
    fn of(pool: &Pool, part: Part) -> Self {
        let (start, finish) = (Cursor::begin(pool), Cursor::end(pool));
        let (mut at, mut end) = (Cursor::begin(pool), Cursor::begin(pool));
        let (rados, parts) = (pool.rados(), part.of.max(1));
        // SAFETY: the ioctx and the cursors are valid. librados overwrites the values of the last two, which
        // stay allocated.
        unsafe {
            rados.rados_object_list_slice(
                pool.raw(),
                start.raw,
                finish.raw,
                part.number.min(parts - 1),
                parts,
                &mut at.raw,
                &mut end.raw,
            );
        }
        let counted = Counted::default();
        Listing { at, end, counted }
    }

    fn is_over(&self) -> bool {
        !self.at.is_before(&self.end)
    }

    /// Counts the next objects.
    ///
    /// Implements: `int rados_object_list(rados_ioctx_t io, const rados_object_list_cursor start,
    /// const rados_object_list_cursor finish, const size_t result_size, const char *filter_buf,
    /// const size_t filter_buf_len, rados_object_list_item *results, rados_object_list_cursor
    /// *next)`; the items are freed with `void rados_object_list_free(const size_t result_size,
    /// rados_object_list_item *results)`.
    fn advance(&mut self, prefix: &str) -> Result<()> {
        let pool = self.at.pool.clone();
        let rados = pool.rados();
        let mut next = Cursor::begin(&pool);
        let mut items: Vec<rados_object_list_item> = Vec::with_capacity(BATCH);
        // SAFETY: the ioctx and the cursors are valid; there is no filter; librados writes as many items as it
        // returns, and not more than the capacity.
        let listed = unsafe {
            rados.rados_object_list(
                pool.raw(),
                self.at.raw,
                self.end.raw,
                BATCH,
                std::ptr::null::<c_char>(),
                0,
                items.as_mut_ptr(),
                &mut next.raw,
            )
        };
        let listed = check(CALL, || described(&pool), listed)?;
        let listed = usize::try_from(listed).unwrap_or_default().min(BATCH);
        // SAFETY: as above. Each name is valid for its length until the items are freed, once.
        unsafe {
            items.set_len(listed);
            for item in &items {
                let name = std::slice::from_raw_parts(item.oid.cast::<u8>(), item.oid_length);
                self.counted.add(name, prefix);
            }
            rados.rados_object_list_free(listed, items.as_mut_ptr());
        }
        self.at = next;
        Ok(())
    }
}

impl Counted {
    fn add(&mut self, name: &[u8], prefix: &str) {
        self.listed += 1;
        let Some(image) = std::str::from_utf8(name)
            .ok()
            .and_then(|name| image_of(name, prefix))
        else {
            return;
        };
        match self.images.get_mut(image) {
            Some(count) => *count += 1,
            None => drop(self.images.insert(image.to_owned(), 1)),
        }
    }
}

/// Returns the id of the image that an object has data of: its name is the prefix, the id, and the object's
/// number. An id has no dot.
fn image_of<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    let (image, number) = name.strip_prefix(prefix)?.split_once('.')?;
    let is_number = number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_number && !image.is_empty()).then_some(image)
}

fn described(pool: &Pool) -> String {
    format!("the objects of pool {}", pool.name())
}

impl Pool {
    /// Counts the objects in a part of this pool with data of the images of the pool `images`: this pool, or a
    /// pool whose images have this one as data pool. An object counts once, also if only a snapshot has its
    /// data.
    ///
    /// Requests go to one OSD after the other. The time depends on the number of objects, also of those without
    /// data of images.
    pub fn count_data_objects(&self, images: &Pool, part: Part) -> Result<Counted> {
        let prefix = match images.id() == self.id() {
            true => DATA.to_owned(),
            false => format!("{DATA}{}.", images.id()),
        };
        let mut listing = Listing::of(self, part);
        while !listing.is_over() {
            let (patience, prefix) = (self.cluster().patience(), prefix.clone());
            let advanced = patience.read_in_time(CALL, &described(self), move || {
                listing.advance(&prefix)?;
                Ok(listing)
            });
            listing = advanced.map_err(|error| self.explain_silence(error))?;
        }
        Ok(listing.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_belongs_to_the_image_in_its_name() {
        let own = |name| image_of(name, "rbd_data.");
        assert_eq!(own("rbd_data.5f1b2.0000000000000a0f"), Some("5f1b2"));
        // The data of an image of another pool, whose id is 7.
        assert_eq!(own("rbd_data.7.5f1b2.0000000000000a0f"), None);
        let other = image_of("rbd_data.7.5f1b2.0000000000000a0f", "rbd_data.7.");
        assert_eq!(other, Some("5f1b2"));
        for foreign in [
            "rbd_header.5f1b2",
            "rbd_data.",
            "rbd_data.5f1b2",
            "rbd_data.5f1b2.a0f",
            "rbd_data..0000000000000a0f",
            "rbd_data.5f1b2.0000000000000a0g",
            "smblock.directory",
            "",
        ] {
            assert_eq!(own(foreign), None, "{foreign}");
        }
    }
}
