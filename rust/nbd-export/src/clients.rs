//! Which clients use which exports. A writer uses an export alone.
//!
//! A client counts until its last request has returned from the kernel. Its connection may have ended long
//! before: a write that the kernel still has could otherwise follow a write of the next client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hostos::{Deadline, FileError};
use serde::Serialize;
use uuid::Uuid;

use crate::offer::Refused;
use crate::registry::{Export, Registry};

/// Clients of one export, and threads that open its device: a dead device leaves places and threads to others.
const MOST: usize = 16;
const POLL: Duration = Duration::from_millis(20);

/// A client that uses an export.
#[derive(Clone, Serialize)]
pub struct Client {
    /// The VDI of the export.
    pub vdi: Uuid,
    /// The name of the export.
    pub name: String,
    /// The client's address.
    pub peer: String,
    /// Since when, in seconds before now.
    pub seconds: u64,
    #[serde(skip)]
    since: Option<Instant>,
    #[serde(skip)]
    connection: Weak<dyn Connection>,
    /// Its export was removed by force.
    #[serde(skip)]
    ended: bool,
}

/// The connection of a client.
pub trait Connection: Send + Sync {
    /// Ends it. Requests that the device does not have yet do not get to it.
    fn end(&self);

    /// Fails all requests if one of them has made no progress for that long.
    fn expire(self: Arc<Self>, limit: Duration);
}

/// A client without a connection yet: its device is being opened.
struct NoConnection;

impl Connection for NoConnection {
    fn end(&self) {}

    fn expire(self: Arc<Self>, _: Duration) {}
}

/// All clients, and the exports they can have.
pub struct Clients {
    registry: Registry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    clients: BTreeMap<u64, Client>,
    /// How many threads open the device of a VDI.
    openings: BTreeMap<Uuid, usize>,
}

/// What became of a request to remove an export.
#[derive(Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is removed, and no client uses it.
    Removed,
    /// This client uses it, and it stays.
    InUse(String),
    /// It is removed, and requests of this client are still in the kernel.
    Pending(String),
}

impl Clients {
    /// No clients yet.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            state: Mutex::default(),
        }
    }

    /// Returns the exports.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Gives an export to a client.
    ///
    /// # Errors
    /// There is no such export, a writer has it, or it has too many clients.
    pub fn claim(self: &Arc<Self>, name: &str, peer: &str) -> Result<(Export, Claim), Refused> {
        let mut state = self.state();
        let export = self.registry.find(name)?;
        let mut users = state.clients.values().filter(|of| of.vdi == export.vdi);
        if let Some(user) = users.next() {
            if !export.read_only {
                return Err(refused(format!(
                    "export {name:?} is in use by {}: one client at a time, because it can write",
                    user.peer
                )));
            }
            if 1 + users.count() >= MOST {
                return Err(refused(format!("export {name:?} has {MOST} clients")));
            }
        }
        let number = state.next;
        state.next += 1;
        let client = Client {
            vdi: export.vdi,
            name: name.to_owned(),
            peer: peer.to_owned(),
            seconds: 0,
            since: Some(Instant::now()),
            connection: Weak::<NoConnection>::new(),
            ended: false,
        };
        state.clients.insert(number, client);
        let claim = Claim {
            clients: self.clone(),
            number,
        };
        Ok((export, claim))
    }

    /// Notes that a thread opens the device of an export.
    ///
    /// # Errors
    /// Too many threads do.
    pub(crate) fn begin_opening(self: &Arc<Self>, export: &Export) -> Result<Opening, Refused> {
        let mut state = self.state();
        let count = state.openings.entry(export.vdi).or_default();
        if *count >= MOST {
            return Err(refused(format!(
                "export {:?}: {} does not respond: {MOST} clients wait for it",
                export.name,
                export.device.display()
            )));
        }
        *count += 1;
        Ok(Opening {
            clients: self.clone(),
            vdi: export.vdi,
        })
    }

    /// Returns all clients.
    #[must_use]
    pub fn list(&self) -> Vec<Client> {
        let clients = self.state().clients.values().cloned().collect::<Vec<_>>();
        clients
            .into_iter()
            .map(|client| Client {
                seconds: client.since.map_or(0, |since| since.elapsed().as_secs()),
                ..client
            })
            .collect()
    }

    /// Removes the export of a VDI. With `force` ends the connections of its clients, also of one whose device is
    /// being opened, and waits for their requests until the deadline.
    ///
    /// # Errors
    /// The file of the export cannot be removed.
    pub fn remove(&self, vdi: Uuid, force: bool, end: Deadline) -> Result<Removal, FileError> {
        let ended = {
            let mut state = self.state();
            let users = state.clients.values_mut().filter(|of| of.vdi == vdi);
            let users: Vec<_> = users.collect();
            if let Some(user) = users.first().filter(|_| !force) {
                return Ok(Removal::InUse(user.peer.clone()));
            }
            self.registry.remove(vdi)?;
            let links = users.into_iter().filter_map(|user| {
                user.ended = true;
                user.connection.upgrade()
            });
            links.collect::<Vec<_>>()
        };
        for link in &ended {
            link.end();
        }
        drop(ended); // a link has its claim
        loop {
            let left = self.list().into_iter().find(|of| of.vdi == vdi);
            match left {
                None => return Ok(Removal::Removed),
                Some(user) if end.passed() => return Ok(Removal::Pending(user.peer)),
                Some(_) => end.sleep(POLL),
            }
        }
    }

    /// Fails the requests of every client of which one has made no progress for that long.
    pub fn expire(&self, limit: Duration) {
        let links: Vec<_> = self
            .state()
            .clients
            .values()
            .filter_map(|of| of.connection.upgrade())
            .collect();
        for link in links {
            link.expire(limit);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(text: String) -> Refused {
    Refused {
        is_unknown: false,
        text,
    }
}

/// A thread that opens a device, until it is dropped.
pub(crate) struct Opening {
    clients: Arc<Clients>,
    vdi: Uuid,
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut state = self.clients.state();
        if let Some(count) = state.openings.get_mut(&self.vdi) {
            *count -= 1;
            if *count == 0 {
                state.openings.remove(&self.vdi);
            }
        }
    }
}

/// The right of a client to an export, until it is dropped.
pub struct Claim {
    clients: Arc<Clients>,
    number: u64,
}

impl Claim {
    /// Notes the connection, so that it can be ended.
    ///
    /// # Errors
    /// The export was removed by force meanwhile.
    pub(crate) fn attach(&self, connection: Weak<dyn Connection>) -> Result<(), Refused> {
        let mut state = self.clients.state();
        match state.clients.get_mut(&self.number) {
            Some(client) if !client.ended => {
                client.connection = connection;
                Ok(())
            }
            _ => Err(Refused {
                is_unknown: true,
                text: "the export is not there any more".to_owned(),
            }),
        }
    }

    /// Returns whether the client still has its export.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub(crate) fn check(&self) -> Result<(), Refused> {
        self.attach(Weak::<NoConnection>::new())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.clients.state().clients.remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_device_is_not_used_after_a_removal_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let export = Export {
            vdi: Uuid::new_v4(),
            name: "vm/0".to_owned(),
            device: "/dev/null".into(),
            read_only: true,
            storage: serde_json::Value::Null,
        };
        let path = directory.path().join(format!("{}.json", export.vdi));
        hostos::json_file::write(&path, &export).unwrap();
        let clients = Arc::new(Clients::new(Registry::new(directory.path())));
        let (_, claim) = clients.claim("vm/0", "client").unwrap();
        claim.check().unwrap();
        let now = Deadline::after(Duration::ZERO);
        let removal = clients.remove(export.vdi, true, now).unwrap();
        assert_eq!(removal, Removal::Pending("client".to_owned()));
        assert!(claim.attach(Weak::<NoConnection>::new()).is_err());
        drop(claim);
        let removal = clients.remove(export.vdi, true, now).unwrap();
        assert_eq!(removal, Removal::Removed);
    }

    #[test]
    fn zeros_are_not_written_on_after_a_removal_by_force() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let device = crate::Device::open(file.path(), false).unwrap();
        let steps = std::cell::Cell::new(0);
        let progress = || {
            steps.set(steps.get() + 1);
            steps.get() < 2
        };
        let zeroed = device.zero(0, 3 << 20, (false, false), &progress);
        let cancelled = nix::errno::Errno::ECANCELED as i32;
        assert_eq!(zeroed.unwrap_err().raw_os_error(), Some(cancelled));
        assert_eq!(steps.get(), 2);
    }
}
