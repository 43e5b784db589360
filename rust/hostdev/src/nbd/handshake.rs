//! The handshake of an NBD connection, before the kernel takes it over.
//!
//! Fixed newstyle with `NBD_OPT_GO`, and `NBD_OPT_EXPORT_NAME` for servers without that option.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hostos::Deadline;
use nix::errno::Errno;

use crate::Error;

const GREETING: &[u8; 8] = b"NBDMAGIC";
const NEWSTYLE: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY: u64 = 0x3_e889_0455_65a9;

/// Bits of the handshake, the same from either side.
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;
/// The padding of the last message of the server, unless both sides set [`NO_ZEROES`].
const ZEROES: usize = 124;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// Flags of an export.
pub(crate) const HAS_FLAGS: u16 = 1;
pub(super) const READ_ONLY: u16 = 2;
pub(super) const SEND_FLUSH: u16 = 4;

/// The protocol's limit for a name, and more than the longest reply.
const LONGEST: usize = 4096;

/// An export of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    /// Bytes.
    pub size: u64,
    /// [`HAS_FLAGS`], [`READ_ONLY`], ...: the kernel has the same flags.
    pub flags: u16,
    /// The smallest request that the server accepts, in bytes; `None` if it sent none.
    pub least_request: Option<u32>,
}

/// Connects and negotiates. The kernel can use the returned stream: no data after the handshake was read,
/// and the stream has no timeouts.
pub(super) fn negotiate(
    server: SocketAddr,
    name: &str,
    limit: Duration,
    end: Deadline,
) -> Result<(TcpStream, Export), Error> {
    if name.len() > LONGEST {
        return Err(Error::Invalid {
            what: "name of an NBD export",
            value: name.to_owned(),
            expected: format!("at most {LONGEST} bytes"),
        });
    }
    let failed = |action| {
        move |source: io::Error| {
            match source.kind() {
            io::ErrorKind::TimedOut => Error::Timeout {
                action,
                object: format!("the NBD server at {server}"),
                waited: limit,
                advice: "it may serve another client, and many servers serve only one: `ss -tnp` shows its \
                         connections"
                    .to_owned(),
            },
            _ => Error::NbdServer {
                action,
                server,
                source,
            },
        }
        }
    };
    let stream = TcpStream::connect_timeout(&server, end.left().max(Duration::from_millis(1)))
        .map_err(failed("connect to"))?;
    let mut wire = Wire {
        stream: &stream,
        end,
    };
    let export = stream
        .set_nodelay(true)
        .map_err(Failure::from)
        .and_then(|()| wire.negotiate(name))
        .map_err(|failure| match failure {
            Failure::Io(source) => failed("negotiate with")(source),
            Failure::Refused { problem, errno } => Error::NbdExport {
                server,
                problem,
                errno: errno as i32,
            },
        })?;
    stream
        .set_read_timeout(None)
        .and_then(|()| stream.set_write_timeout(None))
        .map_err(failed("negotiate with"))?;
    Ok((stream, export))
}

pub(crate) enum Failure {
    Io(io::Error),
    Refused { problem: String, errno: Errno },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn refused(problem: String) -> Failure {
    Failure::Refused {
        problem,
        errno: Errno::EPROTO,
    }
}

/// The stream of a handshake.
pub(crate) trait Stream: Read + Write {
    /// Sets the timeout of later reads and writes.
    fn limit(&mut self, left: Duration) -> io::Result<()>;
}

impl Stream for &TcpStream {
    fn limit(&mut self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// A connection whose reads and writes end by the deadline.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    pub(crate) end: Deadline,
}

impl<S: Stream> Wire<S> {
    fn left(&self) -> io::Result<Duration> {
        match self.end.left() {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }

    pub(crate) fn negotiate(&mut self, name: &str) -> Result<Export, Failure> {
        let greeting = self.bytes::<8>()?;
        if &greeting != GREETING {
            return Err(refused(format!(
                "is no NBD server: it sends {:?}. Another program uses that port: `ss -ltnp` shows it",
                String::from_utf8_lossy(&greeting)
            )));
        }
        if &self.bytes::<8>()? != NEWSTYLE {
            return Err(refused(
                "uses the old protocol, without options: use a server that supports newstyle"
                    .to_owned(),
            ));
        }
        let offered = u16::from_be_bytes(self.bytes()?);
        let agreed = offered & (FIXED_NEWSTYLE | NO_ZEROES);
        self.write_all(&u32::from(agreed).to_be_bytes())?;
        let by_go = if offered & FIXED_NEWSTYLE != 0 {
            self.go(name)?
        } else {
            None
        };
        let export = match by_go {
            Some(export) => export,
            None => self.export_name(name, agreed & NO_ZEROES == 0)?,
        };
        if export.flags & HAS_FLAGS == 0 {
            return Err(refused(format!(
                "sends invalid flags {:#x} for export {name:?}: use another server",
                export.flags
            )));
        }
        Ok(export)
    }

    /// `None` if the server does not support the option.
    fn go(&mut self, name: &str) -> Result<Option<Export>, Failure> {
        let mut data = length_of(name.as_bytes()).to_be_bytes().to_vec();
        data.extend(name.as_bytes());
        data.extend(1u16.to_be_bytes());
        data.extend(INFO_BLOCK_SIZE.to_be_bytes());
        self.option(OPT_GO, &data)?;
        let (mut size_and_flags, mut least_request) = (None, None);
        loop {
            let (kind, data) = self.reply(OPT_GO)?;
            match kind {
                REP_ACK => break,
                REP_ERR_UNSUP => return Ok(None),
                REP_INFO => match info(&data) {
                    Some(Info::Export(size, flags)) => size_and_flags = Some((size, flags)),
                    Some(Info::LeastRequest(bytes)) => least_request = Some(bytes),
                    None => {}
                },
                _ => return Err(explain(kind, name, &data)),
            }
        }
        let (size, flags) = size_and_flags.ok_or_else(|| {
            refused(format!(
                "accepts export {name:?}, but does not send its size: use another server"
            ))
        })?;
        Ok(Some(Export {
            size,
            flags,
            least_request,
        }))
    }

    fn export_name(&mut self, name: &str, zeroes: bool) -> Result<Export, Failure> {
        self.option(OPT_EXPORT_NAME, name.as_bytes())?;
        // A server refuses this option by closing the connection.
        let size = self.bytes().map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Failure::Refused {
                problem: format!(
                    "closed the connection at the request of export {name:?}: it has no export of that name"
                ),
                errno: Errno::ENOENT,
            },
            _ => error.into(),
        })?;
        let flags = self.bytes()?;
        if zeroes {
            self.bytes::<ZEROES>()?;
        }
        Ok(Export {
            size: u64::from_be_bytes(size),
            flags: u16::from_be_bytes(flags),
            least_request: None,
        })
    }

    fn option(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        let mut message = NEWSTYLE.to_vec();
        message.extend(option.to_be_bytes());
        message.extend(length_of(data).to_be_bytes());
        message.extend(data);
        self.write_all(&message)
    }

    fn reply(&mut self, option: u32) -> Result<(u32, Vec<u8>), Failure> {
        let magic = u64::from_be_bytes(self.bytes()?);
        let to = u32::from_be_bytes(self.bytes()?);
        let kind = u32::from_be_bytes(self.bytes()?);
        let length = u32::from_be_bytes(self.bytes()?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if magic != OPTION_REPLY || to != option || length > LONGEST {
            return Err(refused(format!(
                "is no NBD server: it replies to option {option} with magic {magic:#x}, option {to}, \
                 {length} bytes"
            )));
        }
        let mut data = vec![0; length];
        self.read_exact(&mut data)?;
        Ok((kind, data))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl<S: Stream> Read for Wire<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.limit(self.left()?)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl<S: Stream> Write for Wire<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.limit(self.left()?)?;
        self.stream.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A timeout of a socket is `EAGAIN`.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// The length of a name, which is short.
fn length_of(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

enum Info {
    Export(u64, u16),
    LeastRequest(u32),
}

/// Parses one piece of information; `None` if its kind is not used here.
fn info(data: &[u8]) -> Option<Info> {
    let (kind, data) = data.split_first_chunk()?;
    match u16::from_be_bytes(*kind) {
        INFO_EXPORT => {
            let (size, data) = data.split_first_chunk()?;
            let flags = u16::from_be_bytes(*data.first_chunk()?);
            Some(Info::Export(u64::from_be_bytes(*size), flags))
        }
        INFO_BLOCK_SIZE => Some(Info::LeastRequest(u32::from_be_bytes(*data.first_chunk()?))),
        _ => None,
    }
}

fn explain(kind: u32, name: &str, data: &[u8]) -> Failure {
    let (errno, meaning) = match kind & !(1 << 31) {
        2 => (Errno::EACCES, "its policy forbids it"),
        5 => (
            Errno::EACCES,
            "it requires TLS, which the kernel does not support",
        ),
        6 => (Errno::ENOENT, "it has no export of that name"),
        7 => (Errno::ECONNREFUSED, "it is shutting down"),
        8 => (
            Errno::EPROTO,
            "it requires that the client supports block sizes",
        ),
        _ => (Errno::EPROTO, "for an unknown reason"),
    };
    let mut problem = format!("refuses export {name:?}: {meaning} (reply {kind:#x})");
    if !data.is_empty() {
        problem.push_str(": ");
        problem.push_str(&String::from_utf8_lossy(data));
    }
    Failure::Refused { problem, errno }
}

#[cfg(test)]
mod tests;
