//! The server's side of a volume: three connections, and the writes that are not sent yet.
//!
//! A write is acknowledged from memory.  It reaches the copies with the next flush, at most half a
//! second later; if the server is killed before, the write is lost.

mod activation;
mod info;
mod link;
mod span;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::region::{Definition, Version, DECRYPTION_FAILED};
use crate::wire::{Identity, Reply, Request};
pub use info::{Connecting, DsState, Info, UpState};
use link::Link;
use span::Span;

/// The number of copies that must confirm a flush.
const QUORUM: usize = 2;
const AUTO_FLUSH: Duration = Duration::from_millis(500);
/// The limit for writes in memory, in bytes.
const BACKLOG_BYTES: usize = 16 << 20;

/// A volume's copies, and the server that opens it.
#[derive(Debug)]
pub struct Options {
    /// The addresses of the three copies.
    pub targets: Vec<SocketAddr>,
    /// The generation.
    pub generation: u64,
    /// Identifies the key; `None` without encryption.
    pub key: Option<u64>,
    /// The time between two attempts to reach a copy.
    pub reconnect: Duration,
}

/// A volume that this server serves.
#[derive(Debug)]
pub struct Upstairs {
    options: Options,
    identity: Identity,
    state: Mutex<State>,
    changed: Condvar,
    backlog: Mutex<Backlog>,
}

#[derive(Debug)]
struct State {
    up: UpState,
    /// Why it cannot be served any longer.
    disabled: Option<String>,
    size: u64,
    block: u64,
    clients: Vec<Client>,
}

/// Copies in service, by their index.
type Links = Vec<(usize, Arc<Link>)>;

/// The server's state of one copy.
#[derive(Debug)]
struct Client {
    state: DsState,
    link: Option<Arc<Link>>,
    region: Option<(Definition, Version)>,
    /// Whether it missed a write.
    stale: bool,
}

#[derive(Debug, Default)]
struct Backlog {
    writes: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    /// When the oldest write that is not flushed was made.
    since: Option<Instant>,
    flushes: u64,
}

impl Upstairs {
    /// Connect to the copies and become the one that writes.
    ///
    /// Waits for all three without a limit, as Crucible does.  An error if one of them refused
    /// permanently; the process must end then.
    pub fn activate(self: &Arc<Self>) -> Result<(), String> {
        for index in 0..self.options.targets.len() {
            let upstairs = Arc::clone(self);
            thread::spawn(move || upstairs.stay_connected(index));
        }
        let state = self.wait(self.state(), |state| {
            state.clients.iter().all(|client| client.region.is_some())
        });
        self.collate(state)?;
        let upstairs = Arc::clone(self);
        thread::spawn(move || upstairs.flush_by_itself());
        Ok(())
    }

    /// For a volume that is not activated yet.
    pub fn new(options: Options) -> Arc<Self> {
        let client = || Client {
            state: DsState::connecting(Connecting::Start),
            link: None,
            region: None,
            stale: false,
        };
        Arc::new(Self {
            identity: Identity {
                upstairs_id: Uuid::nil(),
                session_id: Uuid::new_v4(),
                generation: options.generation,
                key: options.key,
            },
            state: Mutex::new(State {
                up: UpState::Initializing,
                disabled: None,
                size: 0,
                block: 1,
                clients: options.targets.iter().map(|_| client()).collect(),
            }),
            changed: Condvar::new(),
            backlog: Mutex::default(),
            options,
        })
    }

    /// The reply to `/info`.
    pub fn info(&self) -> Info {
        let state = self.state();
        Info::new(
            state.up,
            state
                .clients
                .iter()
                .map(|client| client.state.clone())
                .collect(),
        )
    }

    /// The volume's size, in bytes.
    pub fn size(&self) -> u64 {
        self.state().size
    }

    /// Read; EIO after another server has taken the volume.
    ///
    /// As in Crucible, a whole block that was never written is not read: `bytes` keeps its old content,
    /// so an NBD client gets stale data of its earlier requests.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.check_range(offset, bytes.len())?;
        let span = self.span(offset, bytes.len());
        loop {
            let (links, backlog) = self.active(1)?;
            let request = Request::Read {
                offset: span.start,
                length: span.length(),
            };
            let (index, link) = &links[0];
            match link.call(&request, b"") {
                Ok((Reply::Read(written), read)) => {
                    span.copy(&read, &written, offset, bytes);
                    backlog.overlay(offset, bytes);
                    return Ok(());
                }
                Ok((Reply::Failed(why), _)) if why == DECRYPTION_FAILED => {
                    // As in Crucible, a wrong key makes the server panic.
                    eprintln!("thread 'main' panicked: block at {}: {why}", span.start);
                    std::process::abort()
                }
                Ok((reply, _)) => return Err(io::Error::other(format!("{reply:?}"))),
                Err(_) => self.drop_link(*index, link),
            }
        }
    }

    /// Write to memory; EIO after another server has taken the volume.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_range(offset, bytes.len())?;
        self.check_active()?;
        let span = self.span(offset, bytes.len());
        let mut whole = vec![0; span.length()];
        if whole.len() != bytes.len() {
            self.read(span.start, &mut whole)?;
        }
        let within = (offset - span.start) as usize;
        whole[within..within + bytes.len()].copy_from_slice(bytes);
        let mut backlog = self.backlog();
        backlog.bytes += whole.len();
        backlog.writes.push((span.start, whole));
        backlog.since.get_or_insert_with(Instant::now);
        let full = backlog.bytes > BACKLOG_BYTES;
        drop(backlog);
        if full {
            self.flush()?;
        }
        Ok(())
    }

    /// Flush all writes to at least two copies; waits until two are connected.
    pub fn flush(&self) -> io::Result<()> {
        loop {
            let (links, mut backlog) = self.active(QUORUM)?;
            if self.flush_to(links, &mut backlog) >= QUORUM {
                return Ok(());
            }
        }
    }

    /// Returns the number of copies that confirmed it.
    fn flush_to(&self, mut having: Links, backlog: &mut Backlog) -> usize {
        for (offset, bytes) in &backlog.writes {
            having = self.all(having, &Request::Write { offset: *offset }, bytes);
        }
        backlog.flushes += 1;
        let flush = Request::Flush {
            generation: self.options.generation,
            flush: backlog.flushes,
        };
        having = self.all(having, &flush, b"");
        let mut state = self.state();
        if !backlog.writes.is_empty() {
            for (index, client) in state.clients.iter_mut().enumerate() {
                client.stale |= !having.iter().any(|(having, _)| *having == index);
            }
        }
        drop(state);
        if having.len() >= QUORUM {
            backlog.writes.clear();
            backlog.bytes = 0;
            backlog.since = None;
        }
        having.len()
    }

    /// Send a request to several copies. Returns those that succeeded.
    fn all(&self, links: Links, request: &Request, payload: &[u8]) -> Links {
        for (_, link) in &links {
            // A copy that has gone gives no reply, too.
            link.send(request, payload).ok();
        }
        let mut done = Vec::new();
        for (index, link) in links {
            match link.receive() {
                Ok((Reply::Done, _)) => done.push((index, link)),
                Ok((reply, _)) => {
                    eprintln!("copy {index} is out of service: {reply:?}");
                    self.drop_link(index, &link);
                }
                Err(_) => self.drop_link(index, &link),
            }
        }
        done
    }

    fn flush_by_itself(&self) {
        while self.check_active().is_ok() {
            thread::sleep(AUTO_FLUSH / 10);
            let since = self.backlog().since;
            if since.is_some_and(|since| since.elapsed() >= AUTO_FLUSH) {
                if let Err(error) = self.flush() {
                    eprintln!("flush: {error}");
                }
            }
        }
    }

    /// Wait for that number of copies in service. Returns them, locked: no copy joins meanwhile.
    fn active(&self, wanted: usize) -> io::Result<(Links, MutexGuard<'_, Backlog>)> {
        loop {
            let backlog = self.backlog();
            let state = self.state();
            if state.disabled.is_some() {
                return Err(fenced());
            }
            let links = state.links();
            if links.len() >= wanted {
                return Ok((links, backlog));
            }
            // Without the backlog's lock: a copy that reconnects takes it.
            drop((state, backlog));
            drop(self.wait(self.state(), |state| state.links().len() >= wanted));
        }
    }

    fn check_active(&self) -> io::Result<()> {
        if self.state().disabled.is_some() {
            return Err(fenced());
        }
        Ok(())
    }

    fn span(&self, offset: u64, length: usize) -> Span {
        let block = self.state().block;
        Span {
            start: offset - offset % block,
            end: (offset + length as u64).next_multiple_of(block),
            block,
        }
    }

    fn check_range(&self, offset: u64, length: usize) -> io::Result<()> {
        if offset.saturating_add(length as u64) > self.size() {
            return Err(io::Error::from_raw_os_error(nix::libc::EINVAL));
        }
        Ok(())
    }

    fn drop_link(&self, index: usize, link: &Arc<Link>) {
        link.close();
        let mut state = self.state();
        let client = &mut state.clients[index];
        if client
            .link
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, link))
        {
            client.link = None;
            client.state = DsState::connecting(Connecting::Start);
        }
        self.changed.notify_all();
    }

    /// Take the volume out of service permanently: the process keeps running, as Crucible's does.
    fn disable(&self, why: String) {
        let mut state = self.state();
        eprintln!("out of service: {why}");
        state.up = UpState::Initializing;
        state.disabled.get_or_insert(why);
        for client in &mut state.clients {
            client.state = DsState::connecting(Connecting::WaitConnect);
            if let Some(link) = client.link.take() {
                link.close();
            }
        }
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until `ready`, or until the volume is out of service.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        ready: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed
            .wait_while(state, |state| state.disabled.is_none() && !ready(state))
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn links(&self) -> Links {
        let active = |client: &Client| {
            client
                .link
                .clone()
                .filter(|_| client.state == DsState::Active)
        };
        self.clients
            .iter()
            .enumerate()
            .filter_map(|(index, client)| active(client).map(|link| (index, link)))
            .collect()
    }
}

impl Backlog {
    /// Overlay the unflushed writes on the data of the copies.
    fn overlay(&self, start: u64, bytes: &mut [u8]) {
        let end = start + bytes.len() as u64;
        for (offset, data) in &self.writes {
            let from = start.max(*offset);
            let to = end.min(offset + data.len() as u64);
            if from < to {
                let length = (to - from) as usize;
                let (into, out_of) = ((from - start) as usize, (from - offset) as usize);
                bytes[into..into + length].copy_from_slice(&data[out_of..out_of + length]);
            }
        }
    }
}

fn fenced() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::EIO)
}
