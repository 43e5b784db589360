//! One connection, as bytes: over TCP, or behind TLS.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hostos::Deadline;
use nix::sys::socket::{setsockopt, sockopt};

/// After this many seconds of silence the kernel asks whether the client is there: 3 times, each 10 s.
const SILENT: u32 = 30;
/// For how long a client may acknowledge nothing of what was sent, in milliseconds. Without it, Linux sends it again
/// for about 15 minutes (`tcp_retries2`).
const UNACKNOWLEDGED: u32 = 60_000;

/// The client's end of a connection.
#[derive(Debug)]
pub enum Channel {
    /// Without encryption.
    Tcp(TcpStream),
    /// To the thread that encrypts.
    Tls(UnixStream),
}

impl Channel {
    /// Returns another handle of the same connection.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(of) => Self::Tcp(of.try_clone()?),
            Self::Tls(of) => Self::Tls(of.try_clone()?),
        })
    }

    /// Limits each read and each write.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn limit(&self, read: Duration, write: Duration) -> io::Result<()> {
        // Zero would be no limit.
        let least = Duration::from_millis(1);
        let (read, write) = (Some(read.max(least)), Some(write.max(least)));
        match self {
            Self::Tcp(of) => of.set_read_timeout(read).and(of.set_write_timeout(write)),
            Self::Tls(of) => of.set_read_timeout(read).and(of.set_write_timeout(write)),
        }
    }

    /// Ends the connection. A reader of it returns.
    pub fn shut_down(&self) {
        let ended = match self {
            Self::Tcp(of) => of.shutdown(Shutdown::Both),
            Self::Tls(of) => of.shutdown(Shutdown::Both),
        };
        drop(ended); // it may have ended already
    }

    /// Sends a header and data in one call if the connection takes both.
    ///
    /// # Errors
    /// The connection has ended, or the client does not read.
    pub fn send(&mut self, header: &[u8], data: &[u8]) -> io::Result<()> {
        let sent = match self {
            Self::Tcp(of) => of.write_vectored(&[IoSlice::new(header), IoSlice::new(data)]),
            Self::Tls(of) => of.write_vectored(&[IoSlice::new(header), IoSlice::new(data)]),
        };
        let sent = match sent {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        if let Some(rest) = header.get(sent..) {
            self.write_all(rest)?;
        }
        self.write_all(&data[sent.saturating_sub(header.len())..])
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(of) => of.read(buffer),
            Self::Tls(of) => of.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(of) => of.write(buffer),
            Self::Tls(of) => of.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has the kernel end a connection whose client's machine is gone: a client does not keep its export then.
///
/// # Errors
/// The connection has ended.
pub(crate) fn end_if_gone(client: &TcpStream) -> io::Result<()> {
    setsockopt(client, sockopt::KeepAlive, &true)?;
    setsockopt(client, sockopt::TcpKeepIdle, &SILENT)?;
    setsockopt(client, sockopt::TcpKeepInterval, &10)?;
    setsockopt(client, sockopt::TcpKeepCount, &3)?;
    // While something that was sent is not acknowledged, the kernel does not ask.
    setsockopt(client, sockopt::TcpUserTimeout, &UNACKNOWLEDGED)?;
    Ok(())
}

/// A connection during the handshake.
pub trait Talk: Read + Write {
    /// Has the next calls end at the deadline.
    ///
    /// # Errors
    /// The connection has ended, or the deadline has passed.
    fn until(&mut self, end: Deadline) -> io::Result<()>;
}

impl Talk for Channel {
    fn until(&mut self, end: Deadline) -> io::Result<()> {
        if end.passed() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.limit(end.left(), end.left())
    }
}

/// Reads exactly that many bytes. Each part of them has to arrive before the deadline.
pub(crate) fn read_until(from: &mut impl Talk, to: &mut [u8], end: Deadline) -> io::Result<()> {
    let mut filled = 0;
    while filled < to.len() {
        from.until(end)?;
        match from.read(&mut to[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::TcpListener;

    #[test]
    fn a_client_that_is_gone_is_dropped_after_a_minute_also_in_a_transfer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        end_if_gone(&accepted).unwrap();
        let idle = getsockopt(&accepted, sockopt::TcpKeepIdle).unwrap();
        let every = getsockopt(&accepted, sockopt::TcpKeepInterval).unwrap();
        let count = getsockopt(&accepted, sockopt::TcpKeepCount).unwrap();
        assert_eq!(idle + every * count, 60);
        let unacknowledged = getsockopt(&accepted, sockopt::TcpUserTimeout).unwrap();
        assert_eq!(unacknowledged, 60_000);
    }
}
