//! When a server may be used: it listens itself, and its upstairs is active.
//!
//! Both are looked up, never tried: a server talks to one client, and the first to connect is it.

use std::net::SocketAddr;
use std::time::Duration;

use hostos::Deadline;
use hostos::Process;
use procfs::net::TcpState;
use procfs::process::{self, FDTarget};

use super::{Server, Status};
use crate::control::{self, Info, UpstairsState};
use crate::Error;

const POLL: Duration = Duration::from_millis(30);
/// How long one answer of the upstairs may take.
const INFO_DEADLINE: Duration = Duration::from_secs(2);
/// How long it may take at least: the last answer before the deadline is what the error quotes.
const INFO_LEAST: Duration = Duration::from_millis(500);

impl Server {
    /// Waits until the server that was started listens and its upstairs is active.
    ///
    /// # Errors
    /// [`Error::EndedEarly`] if it ended, with what it said; [`Error::NotReady`] at the deadline,
    /// with what it waits for. It may still run then: see [`Self::stop`].
    pub fn wait_ready(&self, limit: Duration) -> Result<Info, Error> {
        let deadline = Deadline::after(limit);
        loop {
            let waiting_for = match self.status()? {
                Status::Ended(ended) => {
                    return Err(Error::EndedEarly {
                        volume: self.volume,
                        ended,
                    })
                }
                Status::Running(super::State {
                    server: Some(server),
                    nbd,
                    control,
                    ..
                }) => match ready(&server, nbd, control, deadline) {
                    Ok(info) => return Ok(info),
                    Err(reason) => reason,
                },
                Status::Running(_) | Status::Absent => format!(
                    "the process that starts it has not come that far: see {}, or \
                     `journalctl -u {}`",
                    self.file(super::launcher::LOG).display(),
                    super::launcher::unit(&self.volume)
                ),
            };
            if deadline.passed() {
                return Err(Error::NotReady {
                    volume: self.volume,
                    seconds: limit.as_secs(),
                    waiting_for,
                });
            }
            deadline.sleep(POLL);
        }
    }
}

/// The upstairs' answer, or what it still waits for.
fn ready(
    server: &Process,
    nbd: SocketAddr,
    control: SocketAddr,
    deadline: Deadline,
) -> Result<Info, String> {
    let info = control::info(control, deadline.left().clamp(INFO_LEAST, INFO_DEADLINE))
        .map_err(|error| error.to_string())?;
    if info.state != UpstairsState::Active {
        return Err(format!("its upstairs is {info}"));
    }
    match listens(server, nbd) {
        Ok(true) => Ok(info),
        Ok(false) => Err(format!(
            "its upstairs is active, but pid {} does not listen on {nbd}: where `server` is a \
             script, let it `exec` the real one",
            server.pid
        )),
        Err(error) => Err(format!(
            "cannot find which process listens on {nbd}: {error}"
        )),
    }
}

/// Whether that very process listens on that address.
fn listens(server: &Process, address: SocketAddr) -> procfs::ProcResult<bool> {
    let process = process::Process::new(server.pid.cast_signed())?;
    let sockets: Vec<u64> = match address {
        SocketAddr::V4(_) => process.tcp()?,
        SocketAddr::V6(_) => process.tcp6()?,
    }
    .into_iter()
    .filter(|entry| entry.state == TcpState::Listen && entry.local_address == address)
    .map(|entry| entry.inode)
    .collect();
    for descriptor in process.fd()? {
        if matches!(descriptor?.target, FDTarget::Socket(inode) if sockets.contains(&inode)) {
            return Ok(true);
        }
    }
    Ok(false)
}
