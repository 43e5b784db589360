//! Reads an image's header with one request for each value, without opening the image, which takes ten.
//!
//! The requests call methods of class `rbd` of the OSDs. Kernels and every librbd use the same methods, so
//! that their arguments and replies never change. Numbers are little-endian; a text is its length (`u32`) and
//! that many bytes.

use std::ffi::{c_char, CStr};

use nix::errno::Errno;

use crate::error::{check, Error, Result};
use crate::ffi::rbd::CEPH_NOSNAP;
use crate::lock::{Lock, LockOwner, LOCK_NAME};
use crate::pool::{object_name, Pool};
use crate::snapshot::SnapId;
use crate::write_op::WriteOp;

const CLASS: &CStr = c"rbd";
/// The first size of the buffer for a reply. Only a list of snapshots can need more.
const REPLY: usize = 4096;

/// The header of an image that need not be open.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    pool: &'a Pool,
    id: &'a str,
}

impl Pool {
    /// Returns the id of the image called `name`; `None` if there is none. Opens no image.
    pub fn image_id(&self, name: &str) -> Result<Option<String>> {
        match self.call_rbd(&format!("rbd_id.{name}"), c"get_id", &[]) {
            Err(error) if error.is_not_found() => Ok(None),
            other => other?.text().map(Some),
        }
    }

    /// Returns the header of an image. Sends no request: each method of the result sends one.
    pub fn header<'a>(&'a self, id: &'a str) -> Header<'a> {
        Header { pool: self, id }
    }

    fn call_rbd(&self, oid: &str, method: &CStr, argument: &[u8]) -> Result<Reply> {
        self.call_class(CLASS, oid, method, argument)
    }

    /// Calls a method of a class that changes nothing. Repeats the call if the reply needs a larger buffer.
    ///
    /// Implements: `int rados_exec(rados_ioctx_t io, const char *oid, const char *cls, const
    /// char *method, const char *in_buf, size_t in_len, char *buf, size_t out_len)`.
    fn call_class(&self, class: &CStr, oid: &str, method: &CStr, argument: &[u8]) -> Result<Reply> {
        let c_oid = object_name(oid)?;
        let (text, called) = (class.to_string_lossy(), method.to_string_lossy());
        let object = || format!("{} ({text}.{called})", self.path(oid));
        let mut size = REPLY;
        loop {
            let mut bytes = vec![0_u8; size];
            // SAFETY: the ioctx is valid; the names are C strings; the argument and the buffer have the
            // given lengths.
            let length = unsafe {
                self.rados().rados_exec(
                    self.raw(),
                    c_oid.as_ptr(),
                    class.as_ptr(),
                    method.as_ptr(),
                    argument.as_ptr().cast::<c_char>(),
                    argument.len(),
                    bytes.as_mut_ptr().cast::<c_char>(),
                    size,
                )
            };
            match check("rados_exec", object, length) {
                Err(error) if error.errno() == Some(Errno::ERANGE as i32) && size < 1 << 20 => {
                    size *= 16;
                }
                other => {
                    let length = other.map_err(|error| self.explain_silence(error))?;
                    bytes.truncate(usize::try_from(length).unwrap_or_default());
                    let what = object();
                    return Ok(Reply {
                        what,
                        bytes,
                        read: 0,
                    });
                }
            }
        }
    }
}

impl Header<'_> {
    /// Returns the size of the image's head in bytes.
    pub fn size(&self) -> Result<u64> {
        self.call(c"get_size", &CEPH_NOSNAP.to_le_bytes())?.size()
    }

    /// Returns the size of the image's objects in bytes.
    pub fn object_size(&self) -> Result<u64> {
        let mut reply = self.call(c"get_size", &CEPH_NOSNAP.to_le_bytes())?;
        let [order] = reply.take()?;
        1_u64
            .checked_shl(order.into())
            .ok_or_else(|| Error::Malformed {
                what: reply.what.clone(),
                reason: format!("the order {order} is too large"),
            })
    }

    /// Returns the id of the pool that has the image's data. `None`: the image's own pool.
    pub fn data_pool_id(&self) -> Result<Option<i64>> {
        let id = self.call(c"get_data_pool", &[])?.number()?;
        Ok(Some(id.cast_signed()).filter(|&id| id >= 0))
    }

    /// Returns whether the image's head shares data with a parent.
    pub fn has_parent(&self) -> Result<bool> {
        Ok(self.parent_overlap()?.is_some_and(|bytes| bytes > 0))
    }

    /// Returns how many bytes of a parent the image's head can share. An image that was emptied shares 0, and is
    /// still a clone; `None`: it is none, or was flattened.
    pub fn parent_overlap(&self) -> Result<Option<u64>> {
        // `get_parent` fails with EXDEV if the parent is in a namespace.
        self.call(c"parent_overlap_get", &CEPH_NOSNAP.to_le_bytes())?
            .overlap()
    }

    /// Returns the feature bits (`RBD_FEATURE_*`).
    pub fn features(&self) -> Result<u64> {
        let mut argument = CEPH_NOSNAP.to_le_bytes().to_vec();
        argument.push(1); // read-only: the OSD accepts unknown features
        self.call(c"get_features", &argument)?.number()
    }

    /// Returns the operation feature bits (`RBD_OPERATION_FEATURE_*`).
    pub fn op_features(&self) -> Result<u64> {
        self.call(c"op_features_get", &[])?.number()
    }

    /// Returns whether a snapshot is protected, or its protection is being removed: it cannot be removed.
    pub fn is_protected(&self, id: SnapId) -> Result<bool> {
        let mut reply = self.call(c"get_protection_status", &id.0.to_le_bytes())?;
        Ok(reply.take::<1>()? != [0])
    }

    /// Returns the numbers of the image's snapshots, also of those in the trash.
    pub fn snapshots(&self) -> Result<Vec<SnapId>> {
        self.call(c"get_snapcontext", &[])?.snapshots()
    }

    /// Returns the name of a snapshot; a snapshot in the trash has a generated name.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if the image has no such snapshot.
    pub fn snapshot_name(&self, id: SnapId) -> Result<String> {
        match self.call(c"get_snapshot_name", &id.0.to_le_bytes()) {
            Err(error) if error.is_not_found() => {
                Err(error.with_detail(|| Some("the image has no such snapshot".to_owned())))
            }
            other => other?.text(),
        }
    }

    /// Returns the lock on the image.
    pub fn lock(&self) -> Result<Lock> {
        // An operation of class `lock`: version, oldest version that can read it, length, the text.
        let name = LOCK_NAME.as_bytes();
        let mut argument = vec![1, 1];
        argument.extend((name.len() as u32 + 4).to_le_bytes());
        argument.extend((name.len() as u32).to_le_bytes());
        argument.extend(name);
        let object = self.object();
        let mut reply = self
            .pool
            .call_class(c"lock", &object, c"get_info", &argument)?;
        reply.enter()?;
        let count = u32::from_le_bytes(reply.take()?);
        let mut owners = Vec::new();
        for _ in 0..count {
            reply.enter()?;
            reply.take::<1>()?; // the kind of the client: always `client`
            let client = reply.number()?;
            let cookie = reply.text()?;
            owners.push(LockOwner {
                client: format!("client.{client}"),
                cookie,
            });
            let rest = reply.enter()?; // the time of its end, its address, and a description
            reply.slice(rest)?;
        }
        reply.take::<1>()?; // whether it is shared
        let tag = reply.text()?;
        Ok(Lock { owners, tag })
    }

    /// Sets or replaces a key of the image's metadata. Only for an image that no client has open: this
    /// ignores the image's lock, [`Image::metadata_set`](crate::Image::metadata_set) respects it.
    pub fn metadata_set(&self, key: &str, value: &str) -> Result<()> {
        let mut pair = 1_u32.to_le_bytes().to_vec(); // how many follow
        for text in [key, value] {
            let length = u32::try_from(text.len()).map_err(|_| Error::BadArgument {
                argument: "metadata",
                reason: format!("{} bytes are too long", text.len()),
            })?;
            pair.extend(length.to_le_bytes());
            pair.extend(text.as_bytes());
        }
        let mut op = WriteOp::new(self.pool);
        op.call(CLASS, c"metadata_set", &pair);
        op.operate(&self.object())
    }

    fn call(&self, method: &CStr, argument: &[u8]) -> Result<Reply> {
        self.pool.call_rbd(&self.object(), method, argument)
    }

    fn object(&self) -> String {
        format!("rbd_header.{}", self.id)
    }
}

/// A reply, read from its beginning.
struct Reply {
    what: String,
    bytes: Vec<u8>,
    read: usize,
}

impl Reply {
    fn size(&mut self) -> Result<u64> {
        self.take::<1>()?; // the order
        self.number()
    }

    fn overlap(&mut self) -> Result<Option<u64>> {
        match self.take::<1>()? {
            [0] => Ok(None),
            _ => self.number().map(Some),
        }
    }

    fn snapshots(&mut self) -> Result<Vec<SnapId>> {
        self.number()?; // the newest one's
        let count = u32::from_le_bytes(self.take()?);
        (0..count).map(|_| self.number().map(SnapId)).collect()
    }

    fn slice(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.read.saturating_add(length);
        let found = self.bytes.get(self.read..end);
        self.read = end;
        found.ok_or_else(|| Error::Malformed {
            what: self.what.clone(),
            reason: format!("it ends after {} bytes", self.bytes.len()),
        })
    }

    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH]> {
        let mut taken = [0; LENGTH];
        taken.copy_from_slice(self.slice(LENGTH)?);
        Ok(taken)
    }

    /// Reads the length of the next structure.
    fn enter(&mut self) -> Result<usize> {
        self.take::<2>()?; // its version, and the oldest one that can read it
        Ok(usize::try_from(u32::from_le_bytes(self.take()?)).unwrap_or(usize::MAX))
    }

    fn number(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let length = u32::from_le_bytes(self.take()?);
        let bytes = self.slice(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Reads the bytes as each method of the header does.
#[cfg(fuzzing)]
pub(crate) fn read_in_every_way(bytes: &[u8]) {
    let reply = || Reply {
        what: "fuzzing".to_owned(),
        bytes: bytes.to_vec(),
        read: 0,
    };
    let _ = reply().size();
    let _ = reply().overlap();
    if let Ok(snapshots) = reply().snapshots() {
        assert!(snapshots.len() <= bytes.len());
    }
    if let Ok(text) = reply().text() {
        // A byte that is not UTF-8 becomes three.
        assert!(text.len() <= 3 * bytes.len());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_short_reply_names_the_method() {
        let mut reply = Reply {
            what: "p/rbd_header.1 (rbd.get_size)".to_owned(),
            bytes: vec![9, 0, 0, 0, b'i', b'd'],
            read: 0,
        };
        let text = reply.text().unwrap_err().to_string();
        assert!(text.contains("p/rbd_header.1 (rbd.get_size)"), "{text}");
        assert!(text.contains("ends after 6 bytes"), "{text}");
    }
}
