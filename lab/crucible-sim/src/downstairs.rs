//! Serves one copy: which connection may write to it, and how the previous one is fenced.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use uuid::Uuid;

use crate::region::Region;
use crate::wire::{receive, send, Identity, Reply, Request};

/// A region that servers connect to.
#[derive(Debug)]
pub struct Downstairs {
    read_only: bool,
    region: Mutex<Region>,
    owners: Mutex<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    /// The connection that writes, by the id of the upstairs, which is nil for every NBD server.
    active: HashMap<Uuid, u64>,
    connections: HashMap<u64, Connection>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    identity: Identity,
}

/// The connection is refused and closed: the reason.
struct Refused(String);

impl Downstairs {
    /// Creates it for an open region.
    pub fn new(region: Region, read_only: bool) -> Self {
        Self {
            read_only,
            region: Mutex::new(region),
            owners: Mutex::default(),
        }
    }

    /// Whether it was started read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The region, locked.
    pub fn region(&self) -> MutexGuard<'_, Region> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serve connections, each on a thread.
    pub fn serve(self: &Arc<Self>, listener: &TcpListener) -> io::Result<()> {
        loop {
            let (stream, from) = listener.accept()?;
            let downstairs = Arc::clone(self);
            thread::spawn(move || {
                let ended = downstairs.connection(stream);
                eprintln!("connection from {from} has ended: {ended}");
            });
        }
    }

    /// Serve one connection to its end. Returns why it ended.
    fn connection(&self, mut stream: TcpStream) -> String {
        let identity = match self.introduction(&mut stream) {
            Ok(identity) => identity,
            Err(error) => return error.to_string(),
        };
        let id = match stream.try_clone() {
            Ok(stream) => self.owners().add(Connection {
                stream,
                identity: identity.clone(),
            }),
            Err(error) => return error.to_string(),
        };
        let ended = loop {
            let step = receive(&mut stream)
                .map_err(|error| Refused(error.to_string()))
                .and_then(|(request, payload)| self.reply_to(id, &identity, &request, &payload))
                .and_then(|(reply, payload)| {
                    // Under the lock: no connection is fenced in the middle of another reply.
                    let owners = self.owners();
                    owners.check_known(id)?;
                    send(&mut stream, &reply, &payload).map_err(|error| Refused(error.to_string()))
                });
            if let Err(Refused(why)) = step {
                break why;
            }
        };
        self.owners().remove(id);
        ended
    }

    fn introduction(&self, stream: &mut TcpStream) -> io::Result<Identity> {
        stream.set_nodelay(true)?;
        let (Request::Hello(identity), _) = receive(stream)? else {
            return Err(io::Error::other("no introduction"));
        };
        if self.read_only {
            send(stream, &Reply::ReadOnlyMismatch, b"")?;
            return Err(io::Error::other("ReadOnlyMismatch"));
        }
        if self.region().definition().encrypted != identity.key.is_some() {
            send(stream, &Reply::EncryptionMismatch, b"")?;
            return Err(io::Error::other("EncryptionMismatch"));
        }
        send(stream, &Reply::Done, b"")?;
        Ok(identity)
    }

    fn reply_to(
        &self,
        id: u64,
        who: &Identity,
        request: &Request,
        payload: &[u8],
    ) -> Result<(Reply, Vec<u8>), Refused> {
        if let Request::Promote = request {
            self.owners().promote(id)?;
            return Ok((Reply::Done, Vec::new()));
        }
        let mut region = self.region();
        // The connection must exist; it need not be the one that writes.
        self.owners().check_known(id)?;
        let done = match request {
            Request::Hello(_) | Request::Promote => return Err(Refused("out of order".to_owned())),
            Request::Describe => Ok((
                Reply::Region(region.definition().clone(), region.version().clone()),
                Vec::new(),
            )),
            Request::Read { offset, length } => region
                .read(*offset, *length, who.key)
                .and_then(|bytes| Ok((Reply::Read(region.written(*offset, *length)?), bytes))),
            Request::Write { offset } => region
                .write(*offset, payload, who.key)
                .map(|()| (Reply::Done, Vec::new())),
            Request::Flush { generation, flush } => region
                .flush(*generation, *flush)
                .map(|()| (Reply::Done, Vec::new())),
            Request::Allocated => region
                .allocated()
                .map(|found| (Reply::Allocated(found), Vec::new())),
        };
        Ok(done.unwrap_or_else(|error| (Reply::Failed(error.to_string()), Vec::new())))
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owners {
    fn add(&mut self, connection: Connection) -> u64 {
        self.next += 1;
        self.connections.insert(self.next, connection);
        self.next
    }

    fn check_known(&self, id: u64) -> Result<(), Refused> {
        if self.connections.contains_key(&id) {
            return Ok(());
        }
        Err(Refused("another upstairs took over".to_owned()))
    }

    /// Let a connection write.  A live one of a lower generation is fenced: informed, and removed.
    fn promote(&mut self, id: u64) -> Result<(), Refused> {
        let new = self.identity(id)?.clone();
        if let Some(live_id) = self.active.values().next().copied() {
            let live = self.identity(live_id)?;
            match new.generation.cmp(&live.generation) {
                Ordering::Less => {
                    return Err(Refused(format!(
                        "Current gen {} is > requested gen of {}",
                        live.generation, new.generation
                    )))
                }
                Ordering::Equal if *live != new => {
                    return Err(Refused(format!(
                        "Same gen, but UUIDs {live:?} don't match {new:?}"
                    )))
                }
                _ => {}
            }
            if let Some(mut fenced) = self.connections.remove(&live_id) {
                // If it does not arrive, the server has ended.
                send(&mut fenced.stream, &Reply::NoLongerActive, b"").ok();
            }
        }
        self.active.clear();
        self.active.insert(new.upstairs_id, id);
        Ok(())
    }

    fn identity(&self, id: u64) -> Result<&Identity, Refused> {
        self.connections
            .get(&id)
            .map(|connection| &connection.identity)
            .ok_or_else(|| Refused("another upstairs took over".to_owned()))
    }

    /// Remove a connection that has ended.
    ///
    /// As in Crucible, the entry of the writer is removed by the id of the upstairs, also if it has
    /// another connection: the end of a refused connection removes the entry of the live owner.  The
    /// owner keeps writing, and the next generation finds no connection to fence.
    fn remove(&mut self, id: u64) {
        if let Some(gone) = self.connections.remove(&id) {
            self.active.remove(&gone.identity.upstairs_id);
        }
    }
}
