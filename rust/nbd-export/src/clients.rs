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
}

/// The connection of a client.
pub trait Connection: Send + Sync {
    /// Ends it.
    fn shut_down(&self);

    /// Fails all requests if one of them has made no progress for that long.
    fn expire(self: Arc<Self>, limit: Duration);
}

/// A client without a connection yet: its device is being opened.
struct NoConnection;

impl Connection for NoConnection {
    fn shut_down(&self) {}

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
    /// There is no such export, or a writer has it.
    pub fn claim(self: &Arc<Self>, name: &str, peer: &str) -> Result<(Export, Claim), Refused> {
        let mut state = self.state();
        let export = self.registry.find(name)?;
        let user = state.clients.values().find(|of| of.vdi == export.vdi);
        if let Some(user) = user.filter(|_| !export.read_only) {
            let text = format!(
                "export {name:?} is in use by {}: one client at a time, because it can write",
                user.peer
            );
            return Err(Refused {
                is_unknown: false,
                text,
            });
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
        };
        state.clients.insert(number, client);
        let claim = Claim {
            clients: self.clone(),
            number,
        };
        Ok((export, claim))
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

    /// Removes the export of a VDI. With `force` ends the connections of its clients, and waits for their
    /// requests until the deadline.
    ///
    /// # Errors
    /// The file of the export cannot be removed.
    pub fn remove(&self, vdi: Uuid, force: bool, end: Deadline) -> Result<Removal, FileError> {
        let ended = {
            let state = self.state();
            let users: Vec<_> = state.clients.values().filter(|of| of.vdi == vdi).collect();
            if let Some(user) = users.first().filter(|_| !force) {
                return Ok(Removal::InUse(user.peer.clone()));
            }
            self.registry.remove(vdi)?;
            users
                .iter()
                .filter_map(|of| of.connection.upgrade())
                .collect::<Vec<_>>()
        };
        for link in &ended {
            link.shut_down();
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

/// The right of a client to an export, until it is dropped.
pub struct Claim {
    clients: Arc<Clients>,
    number: u64,
}

impl Claim {
    /// Notes the connection, so that it can be ended.
    pub(crate) fn attach(&self, connection: Weak<dyn Connection>) {
        if let Some(client) = self.clients.state().clients.get_mut(&self.number) {
            client.connection = connection;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.clients.state().clients.remove(&self.number);
    }
}
