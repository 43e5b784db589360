//! Finds what prevents the change of an image: locks set by hand, other clients. (The features of an image
//! show a demotion or a migration: the caller must check them.)
//!
//! librbd takes an image's exclusive lock for most changes, and releases it when another client requests it. A
//! lock of `rbd lock add` or another program is never released on request: librbd returns EROFS, or retries
//! without end.

use std::ffi::c_int;
use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use serde_json::json;

use crate::buffer::{is_too_short, text_of, texts_of};
use crate::deadline::within;
use crate::error::{Error, Result};
use crate::header::LOCK_NAME;
use crate::image::{Image, ImageRef, OwnedRef};
use crate::pool::Pool;
use crate::shell::quoted;
use crate::watchers::Watcher;

/// The deadline of the search for the cause of a failed call.
const EXPLAIN: Duration = Duration::from_millis(1500);

/// The tag and the prefix of the cookies of the lock of librbd and krbd.
const OWN_TAG: &str = "internal";
const OWN_COOKIE: &str = "auto ";

/// The lock on an image's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The owners: several if it is shared.
    pub owners: Vec<LockOwner>,
    /// Its tag; `internal` for the automatic lock.
    pub tag: String,
}

/// A client that holds a lock, or that ended without releasing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOwner {
    /// Its name: `client.4123`.
    pub client: String,
    /// The lock's id, for `rbd lock rm`.
    pub cookie: String,
}

impl Lock {
    /// Returns the first owner of a lock that was set by hand; `None` for the lock of librbd or a kernel. A
    /// lock set by hand stays until it is removed.
    pub fn set_by_hand(&self) -> Option<&LockOwner> {
        let mut owners = self.owners.iter();
        owners.find(|owner| self.tag != OWN_TAG || !owner.cookie.starts_with(OWN_COOKIE))
    }

    /// Fails with the error of a call if this lock, set by hand, prevents it.
    fn refuse(&self, call: &'static str, place: &Place) -> Result<()> {
        match self.set_by_hand() {
            None => Ok(()),
            Some(owner) => Err(Error::Call {
                call,
                object: place.to_string(),
                errno: Errno::EBUSY as i32,
                detail: Some(owner.remedy(place)),
            }),
        }
    }
}

impl LockOwner {
    /// Returns a description of the lock, and the command that removes it.
    fn remedy(&self, place: &Place) -> String {
        let (client, cookie) = (&self.client, quoted(&self.cookie));
        let remove = match place {
            Place::Named(path) => {
                let path = quoted(path);
                // A name that starts with a dash looks like an option.
                match self.cookie.starts_with('-') {
                    true => format!("rbd lock rm -- {path} {cookie} {client}"),
                    false => format!("rbd lock rm {path} {cookie} {client}"),
                }
            }
            // `rbd lock` does not support image ids.
            Place::Unnamed { pool, id } => {
                let pool = quoted(pool);
                format!("rados -p {pool} lock break rbd_header.{id} {LOCK_NAME} {client} --lock-cookie {cookie}")
            }
        };
        format!(
            "{client} holds the lock '{}', which was set by hand and stays until it is removed; \
             if its owner does not need it, remove it: {remove}",
            self.cookie
        )
    }
}

/// How a command of Ceph identifies an image.
enum Place {
    /// By its pool and name, `POOL/IMAGE`.
    Named(String),
    /// By its id: it is in the trash, or has no name.
    Unnamed { pool: String, id: String },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Named(path) => f.write_str(path),
            Place::Unnamed { pool, id } => write!(f, "{pool}/id {id}"),
        }
    }
}

impl Image {
    /// Returns the lock on the image, also that of librbd or a kernel, from the last time that librbd read the
    /// header.
    ///
    /// Implements: `ssize_t rbd_list_lockers(rbd_image_t image, int *exclusive, char *tag,
    /// size_t *tag_len, char *clients, size_t *clients_len, char *cookies, size_t *cookies_len, char
    /// *addrs, size_t *addrs_len)`.
    pub fn lock(&self) -> Result<Lock> {
        self.read("rbd_list_lockers", Self::lock_now)
    }

    /// As [`Image::lock`], without a deadline.
    pub(crate) fn lock_now(&self) -> Result<Lock> {
        let mut sizes = [256_usize; 4];
        loop {
            let mut exclusive: c_int = 0;
            let [mut tag, mut clients, mut cookies, mut addresses] = sizes.map(|n| vec![0_u8; n]);
            let mut lengths = sizes;
            let [tag_length, clients_length, cookies_length, addresses_length] = &mut lengths;
            // SAFETY: the image is open; the buffers have the given lengths.
            let listed = unsafe {
                self.rbd().rbd_list_lockers(
                    self.raw(),
                    &mut exclusive,
                    tag.as_mut_ptr().cast(),
                    tag_length,
                    clients.as_mut_ptr().cast(),
                    clients_length,
                    cookies.as_mut_ptr().cast(),
                    cookies_length,
                    addresses.as_mut_ptr().cast(),
                    addresses_length,
                )
            };
            match self.check("rbd_list_lockers", listed as i64) {
                // With a reserve: there may be more owners at the next call.
                Err(error) if is_too_short(&error) => {
                    sizes = [0, 1, 2, 3].map(|n| sizes[n].max(lengths[n]) + 64);
                }
                Err(error) => return Err(error),
                Ok(_) => {
                    // A cookie may be empty, but the name of a client is not.
                    let cookies = cookies.split(|&byte| byte == 0).map(text_of);
                    let owners = texts_of(&clients).into_iter().zip(cookies);
                    return Ok(Lock {
                        owners: owners
                            .map(|(client, cookie)| LockOwner { client, cookie })
                            .collect(),
                        tag: text_of(&tag),
                    });
                }
            }
        }
    }

    /// Returns the pool and the name of the image, for `rbd`.
    fn spec(&self) -> Result<String> {
        Ok(self.pool().path(&self.name()?))
    }

    /// Fails if a lock set by hand prevents the call.
    pub(crate) fn refuse_if_locked(&self, call: &'static str) -> Result<()> {
        let lock = self.lock_now()?;
        match lock.set_by_hand() {
            None => Ok(()),
            Some(_) => lock.refuse(call, &self.pool().place_of(&self.id()?)?),
        }
    }

    /// As [`Pool::explain`], for a call on this image.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match self.id() {
            Ok(id) => self.pool().explain(&ImageRef::Id(&id), error),
            Err(_) => error,
        }
    }

    /// Returns the limit of the image's snapshots; `None` if it has none.
    ///
    /// Implements: `int rbd_snap_get_limit(rbd_image_t image, uint64_t *limit)`.
    fn snapshot_limit_now(&self) -> Result<Option<u64>> {
        let mut limit = 0;
        // SAFETY: the image is open; `limit` is valid for writing.
        let got = unsafe { self.rbd().rbd_snap_get_limit(self.raw(), &mut limit) };
        self.check("rbd_snap_get_limit", got)?;
        Ok((limit < u64::MAX).then_some(limit))
    }

    /// Returns [`Error::SnapshotLimit`] if the image has as many snapshots as `rbd snap limit set` allows, and
    /// `other` if not.
    pub(crate) fn snapshot_limit_or(&self, other: Error) -> Error {
        match (self.snapshot_limit_now(), self.snapshots(), self.spec()) {
            (Ok(Some(limit)), Ok(taken), Ok(image)) if limit <= taken.len() as u64 => {
                Error::SnapshotLimit { image, limit }
            }
            _ => other,
        }
    }

    /// Returns the lock or the clients that prevent a change of the image; `None` if none is found.
    fn obstacle(&self) -> Result<Option<String>> {
        if let Some(owner) = self.lock_now()?.set_by_hand() {
            return Ok(Some(owner.remedy(&self.pool().place_of(&self.id()?)?)));
        }
        let own = self.pool().cluster().instance_id();
        let watchers: Vec<Watcher> = self.watchers_now()?;
        let others = watchers
            .iter()
            .filter(|watcher| u64::try_from(watcher.client_id) != Ok(own));
        let others: Vec<_> = others
            .map(|watcher| format!("client.{} ({})", watcher.client_id, watcher.address))
            .collect();
        Ok((!others.is_empty()).then(|| {
            let others = others.join(", ");
            format!("these clients have it open for writing, and may hold its lock: {others}")
        }))
    }
}

impl Pool {
    /// Adds the lock or the clients that prevent a change of an image to the error of the change.
    pub(crate) fn explain(&self, image: &ImageRef<'_>, error: Error) -> Error {
        // EBUSY of other calls has other causes than the lock.
        let is_busy = matches!(&error, Error::Call { call: "rbd_trash_move", errno, detail: None, .. }
            if *errno == Errno::EBUSY as i32);
        let is_read_only = error.errno() == Some(Errno::EROFS as i32);
        if !error.is_timed_out() && !is_read_only && !is_busy {
            return error;
        }
        let (pool, image) = (self.clone(), OwnedRef::from(*image));
        let seen = within(EXPLAIN, move || {
            let opened = pool.image_open_now(&image.borrow(), true)?;
            opened.obstacle()
        });
        match seen {
            Ok(Some(Ok(Some(obstacle)))) => error.adding(&obstacle),
            Ok(Some(Ok(None))) => error,
            _ => self.explain_silence(error),
        }
    }

    /// Adds to a timeout whether the monitors reply.
    pub(crate) fn explain_silence(&self, error: Error) -> Error {
        if !error.is_timed_out() {
            return error;
        }
        let cluster = self.cluster().clone();
        let asked = within(EXPLAIN, move || {
            cluster.mon_command_now(&json!({"prefix": "osd stat", "format": "json"}))
        });
        let pool = self.name();
        match asked {
            Ok(Some(reply)) if !matches!(&reply, Err(e) if e.is_timed_out()) => {
                error.adding(&format!(
                "the monitors reply, the OSDs of pool {pool} do not: run 'ceph health detail' on a \
                 node of the cluster"
            ))
            }
            _ => error.adding(
                "neither the monitors nor the OSDs reply: check the network between this host and \
                 the cluster, then run 'ceph health detail' on a node of the cluster",
            ),
        }
    }

    /// Checks with one request that no lock prevents a change of the image with that id.
    ///
    /// # Errors
    /// EBUSY if a lock was set by hand, with the command that removes it.
    pub fn require_unlocked(&self, id: &str) -> Result<()> {
        let lock = self.header(id).lock()?;
        if lock.set_by_hand().is_none() {
            return Ok(());
        }
        lock.refuse("rbd_list_lockers", &self.place_of(id)?)
    }

    fn place_of(&self, id: &str) -> Result<Place> {
        Ok(match self.image_name(id)? {
            Some(name) => Place::Named(self.path(&name)),
            None => Place::Unnamed {
                pool: self.name().to_owned(),
                id: id.to_owned(),
            },
        })
    }

    /// Fails if a lock set by hand prevents the call on the image called `name`.
    pub(crate) fn refuse_if_locked(&self, call: &'static str, name: &str) -> Result<()> {
        match self.image_id(name)? {
            Some(id) => {
                let place = Place::Named(self.path(name));
                self.header(&id).lock()?.refuse(call, &place)
            }
            None => Ok(()), // the call itself returns ENOENT
        }
    }

    /// Makes a call that lists entries of `object` in this pool, by the deadline.
    pub(crate) fn list_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        list: impl FnOnce(&Pool) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (pool, path) = (self.clone(), self.path(object));
        let listed = self
            .cluster()
            .read_in_time(call, &path, move || list(&pool));
        listed.map_err(|error| self.explain_silence(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(tag: &str, cookie: &str) -> Lock {
        Lock {
            owners: vec![LockOwner {
                client: "client.4123".to_owned(),
                cookie: cookie.to_owned(),
            }],
            tag: tag.to_owned(),
        }
    }

    #[test]
    fn each_lock_but_the_automatic_one_is_set_by_hand() {
        assert_eq!(lock("internal", "auto 94").set_by_hand(), None);
        for by_hand in [
            lock("", "mylock"),
            lock("internal", "x"),
            lock("", "auto 1"),
        ] {
            assert!(by_hand.set_by_hand().is_some(), "{by_hand:?}");
        }
        let none = Lock {
            owners: vec![],
            tag: String::new(),
        };
        assert_eq!(none.set_by_hand(), None);
    }

    #[test]
    fn the_error_of_a_locked_image_has_the_command_that_unlocks_it() {
        let unnamed = Place::Unnamed {
            pool: "vms".to_owned(),
            id: "10a4".to_owned(),
        };
        for (place, command) in [
            (Place::Named("vms/a".to_owned()), "rbd lock rm vms/a 'my lock' client.4123"),
            (unnamed, "rados -p vms lock break rbd_header.10a4 rbd_lock client.4123 --lock-cookie 'my lock'"),
        ] {
            let refused = lock("", "my lock").refuse("rbd_trash_move", &place);
            let text = refused.map_err(|error| error.to_string()).unwrap_err();
            assert!(text.contains("EBUSY"), "{text}");
            assert!(text.contains(command), "{text}");
        }
    }
}
