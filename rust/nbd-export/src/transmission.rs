//! Requests of a client that uses an export.
//!
//! One thread reads requests, others serve them, several at once. A request that the device does not return for
//! too long gets EIO, and the connection ends: the kernel's I/O cannot be cancelled.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use hostos::errno::describe_io;

use crate::aligned::Aligned;
use crate::allocation::{status, Allocation, Part};
use crate::channel::Channel;
use crate::clients::{Claim, Connection};
use crate::connections::Place;
use crate::disk::{Disk, Zero};
use crate::handshake::Chosen;
use crate::memory::{Memory, PIECE};
use crate::pending::{Begun, Pending};
use crate::protocol::{command, error, flag, MAX_PAYLOAD};
use crate::reply::Reply;
use crate::request::{Request, HEADER};

/// How many requests of a client are served at once.
const WORKERS: usize = 16;
/// Until the rest of a request has arrived, and until the client has taken a reply.
const STALLED: Duration = Duration::from_secs(60);

/// An export that a client uses.
pub struct Session {
    /// The export's name, for the log.
    pub name: String,
    /// Whether the client can only read.
    pub read_only: bool,
    /// The device.
    pub disk: Arc<dyn Disk>,
    /// What the storage has of it, if that can be found out.
    pub allocation: Option<Arc<dyn Allocation>>,
    /// The place of the connection.
    pub place: Arc<Place>,
    /// The right to use it.
    pub claim: Claim,
}

/// The connection of a client that uses an export.
pub struct Link {
    session: Session,
    structured: bool,
    allocation: bool,
    channel: Mutex<Channel>,
    /// The same connection, to end it while a reply is being sent.
    ender: Channel,
    pending: Pending,
}

/// A request with its data, and its entry in `pending`.
struct Job {
    request: Request,
    data: Aligned,
    begun: Begun,
}

/// Serves a client until it ends the connection.
///
/// # Errors
/// The client does not follow the protocol, or no thread can be started.
pub fn serve(channel: Channel, chosen: Chosen<Session>, memory: Arc<Memory>) -> io::Result<()> {
    channel.limit(STALLED, STALLED)?;
    let mut reader = channel.duplicate()?;
    let link = Arc::new(Link {
        structured: chosen.structured,
        allocation: chosen.allocation,
        ender: channel.duplicate()?,
        channel: Mutex::new(channel),
        pending: Pending::new(memory),
        session: chosen.session,
    });
    let connection: Weak<Link> = Arc::downgrade(&link);
    let attached = link.session.claim.attach(connection);
    attached.map_err(|refused| io::Error::other(refused.text))?;
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..WORKERS {
        let (link, receiver) = (link.clone(), receiver.clone());
        thread::Builder::new()
            .name("nbd-worker".to_owned())
            .spawn(move || link.work(&receiver))?;
    }
    while let Some(job) = link.next(&mut reader)? {
        if sender.send(job).is_err() {
            break;
        }
    }
    Ok(()) // the workers finish what is queued
}

impl Connection for Link {
    fn end(&self) {
        self.pending.abandon();
        self.shut_down();
    }

    fn expire(self: Arc<Self>, limit: Duration) {
        let overdue = self.pending.take_overdue(limit);
        if overdue.is_empty() {
            return;
        }
        log::error!(
            "export {}: its device has not served a request for {} s: {} requests fail with EIO",
            self.session.name,
            limit.as_secs(),
            overdue.len()
        );
        // The client may not read, and other exports do not wait for it.
        let fails = move || {
            for request in overdue {
                let text = "the device does not respond".to_owned();
                if self
                    .reply(&request, Reply::Failed(error::EIO, text))
                    .is_err()
                {
                    break;
                }
            }
            self.shut_down();
        };
        let started = thread::Builder::new().spawn(fails);
        if let Err(error) = started {
            log::error!("no thread for a dead device: {}", describe_io(&error));
        }
    }
}

impl Link {
    /// Ends the connection. What the client has sent is served.
    fn shut_down(&self) {
        self.ender.shut_down();
        self.pending.close();
    }

    /// Returns the client's next request; `None` if it has ended the connection.
    fn next(&self, reader: &mut Channel) -> io::Result<Option<Job>> {
        loop {
            let Some(header) = read_header(reader)? else {
                return Ok(None);
            };
            let malformed =
                || io::Error::new(ErrorKind::InvalidData, "the client sends no request of NBD");
            let request = Request::parse(&header).ok_or_else(malformed)?;
            if request.command == command::DISC {
                return Ok(None);
            }
            let carries = request.command == command::WRITE;
            if carries && request.length > MAX_PAYLOAD {
                let text = "the request has more than 32 MiB".to_owned();
                self.reply(&request, Reply::Failed(error::EINVAL, text))?;
                return Ok(None); // its data follows, however much that is
            }
            let size = if request.carries_data() {
                request.length.min(MAX_PAYLOAD)
            } else {
                0
            };
            let Some(begun) = self.pending.begin(request, size as usize) else {
                return Ok(None);
            };
            if carries && !begun.whole {
                self.write_in_pieces(&request, begun.number, reader)?;
                continue;
            }
            let mut data = Aligned::new(if carries { request.length as usize } else { 0 });
            reader.read_exact(data.all())?;
            match self.check(&request) {
                Ok(()) => {
                    return Ok(Some(Job {
                        request,
                        data,
                        begun,
                    }))
                }
                Err(refused) => {
                    self.pending.end(begun.number);
                    self.reply(&request, refused)?;
                }
            }
        }
    }

    fn check(&self, request: &Request) -> Result<(), Reply> {
        let checked = request.check(
            self.session.disk.size(),
            self.session.read_only,
            self.allocation,
        );
        let text = "the export does not allow the request".to_owned();
        checked.map_err(|refused| Reply::Failed(refused, text))
    }

    /// Writes the data of a request as it arrives.
    fn write_in_pieces(
        &self,
        request: &Request,
        number: u64,
        reader: &mut Channel,
    ) -> io::Result<()> {
        let mut failed = self.check(request).err();
        let mut piece = Aligned::new(PIECE);
        let mut done = 0;
        while done < request.length as usize {
            let size = PIECE.min(request.length as usize - done);
            let data = &mut piece.all()[..size];
            reader.read_exact(data)?;
            if failed.is_none() && self.pending.progress(number) {
                let written = self.session.disk.write(request.offset + done as u64, data);
                failed = written.err().map(|error| self.failed(&error));
                self.pending.pause(number);
            }
            done += size;
        }
        if failed.is_none() && request.is_durable() && self.pending.progress(number) {
            let flushed = self.session.disk.flush();
            failed = flushed.err().map(|error| self.failed(&error));
        }
        if !self.pending.answer(number) {
            return Ok(()); // it has failed meanwhile
        }
        drop(piece);
        let sent = self.reply(request, failed.unwrap_or(Reply::Done));
        self.pending.end(number);
        sent
    }

    /// Reads and sends one piece after the other, except the last reply, which it returns.
    fn read_in_pieces(&self, job: &Job) -> Reply {
        let request = &job.request;
        if request.flags & flag::DF != 0 {
            return Reply::Failed(error::EOVERFLOW, "no memory for one chunk".to_owned());
        }
        if !self.structured {
            // After the header of a simple reply no error can be sent.
            return Reply::Failed(error::ENOMEM, "no memory for the request".to_owned());
        }
        let mut done = 0;
        while done < request.length as usize {
            let size = PIECE.min(request.length as usize - done);
            let offset = request.offset + done as u64;
            let data = match self.session.disk.read(offset, size) {
                Ok(data) => data,
                Err(error) => return self.failed(&error),
            };
            // Not while the request is failed by another thread.
            self.pending.pause(job.begun.number);
            if self.reply(request, Reply::Part(offset, data)).is_err() {
                self.shut_down();
                return Reply::Done; // not sent any more
            }
            if !self.pending.progress(job.begun.number) {
                return Reply::Done;
            }
            done += size;
        }
        Reply::Done
    }

    fn failed(&self, error: &io::Error) -> Reply {
        log::warn!("export {}: {}", self.session.name, describe_io(error));
        Reply::Failed(number_of(error), describe_io(error))
    }

    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else { return };
            let number = job.begun.number;
            if !self.pending.progress(number) {
                self.pending.end(number);
                continue; // it has failed, or the export was removed: the device does not get it any more
            }
            let result = self.perform(&job);
            if !self.pending.answer(number) {
                continue; // it has failed meanwhile
            }
            let sent = self.reply(&job.request, result);
            self.pending.end(number);
            if sent.is_err() {
                self.shut_down();
            }
        }
    }

    fn perform(&self, job: &Job) -> Reply {
        let disk = &self.session.disk;
        let (offset, length) = (job.request.offset, job.request.length);
        let progress = || self.pending.progress(job.begun.number);
        let has = |bit: u16| job.request.flags & bit != 0;
        let done = match job.request.command {
            command::READ if !job.begun.whole => return self.read_in_pieces(job),
            command::READ => match disk.read(offset, length as usize) {
                Ok(data) => return Reply::Data(data),
                Err(error) => Err(error),
            },
            command::BLOCK_STATUS => return Reply::Status(self.status(&job.request)),
            command::FLUSH => disk.flush(),
            command::WRITE => disk.write(offset, job.data.data()),
            command::TRIM => disk.trim(offset, length.into(), &progress),
            command::WRITE_ZEROES => {
                let how = Zero {
                    hole: !has(flag::NO_HOLE),
                    fast: has(flag::FAST_ZERO),
                };
                disk.zero(offset, length.into(), how, &progress)
            }
            _ => Err(ErrorKind::Unsupported.into()),
        };
        let is_write = !matches!(job.request.command, command::READ | command::FLUSH);
        let done = done.and_then(|()| {
            if is_write && job.request.is_durable() {
                disk.flush()
            } else {
                Ok(())
            }
        });
        match done {
            Ok(()) => Reply::Done,
            Err(error) => self.failed(&error),
        }
    }

    fn status(&self, request: &Request) -> Vec<u8> {
        let length = u64::from(request.length);
        let asked = self.session.allocation.as_ref();
        let parts = asked.map(|of| of.parts(request.offset, length));
        let parts = match parts {
            Some(Ok(parts)) => parts,
            Some(Err(error)) => {
                let name = &self.session.name;
                log::warn!(
                    "export {name}: all of it counts as data: {}",
                    describe_io(&error)
                );
                Vec::new()
            }
            None => Vec::<Part>::new(),
        };
        status(&parts, request.length, request.flags & flag::REQ_ONE != 0)
    }

    fn reply(&self, request: &Request, reply: Reply) -> io::Result<()> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        reply.send(request, self.structured, &mut channel)
    }
}

/// Returns the next header; `None` if the client has ended the connection between two requests. A client may be
/// silent between them as long as it likes.
fn read_header(reader: &mut Channel) -> io::Result<Option<[u8; HEADER]>> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match reader.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && filled == 0 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(header))
}

/// Returns NBD's number of a device's error.
fn number_of(error: &io::Error) -> u32 {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => error::ENOSPC,
        ErrorKind::Unsupported => error::ENOTSUP,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => error::EPERM,
        _ => error::EIO,
    }
}
