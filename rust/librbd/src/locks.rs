//! Finds what prevents the change of an image: locks set by hand, other clients. (The features of an image
//! show a demotion or a migration: the caller must check them.)
//!
//! librbd takes an image's exclusive lock for most changes, and releases it when another client requests it. A
//! lock of `rbd lock add` or another program is never released on request: librbd returns EROFS, or retries
//! without end.

use std::ffi::c_int;

use nix::errno::Errno;

use crate::buffer::{is_too_short, text_of, texts_of};
use crate::deadline::within;
use crate::error::{Error, Result};
use crate::image::{Image, ImageRef, OwnedRef};
use crate::lock::{Lock, LockOwner, Place};
use crate::pool::Pool;
use crate::silence::EXPLAIN;
use crate::watchers::Watcher;

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
                namespace: self.namespace().to_owned(),
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
}
