//! Waits until a server can be used: it listens, and its upstairs is active.
//!
//! No check connects to the NBD port: a server serves one client, the first that connects.

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
/// The longest deadline of one request to the upstairs.
const INFO_DEADLINE: Duration = Duration::from_secs(2);
/// The shortest one: the error quotes the last reply before the deadline.
const INFO_LEAST: Duration = Duration::from_millis(500);

impl Server {
    /// Waits until the started server listens and its upstairs is active.
    ///
    /// # Errors
    /// [`Error::EndedEarly`] with its output if it ended; [`Error::NotReady`] at the deadline, with the
    /// missing condition. It may still run then: see [`Self::stop`].
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
                    "its supervisor has not started it yet: see {}, or `journalctl -u {}`",
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

/// Returns the upstairs' reply, or the missing condition.
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
            "its upstairs is active, but pid {} does not listen on {nbd}: if device-config:server is a \
             script, it must `exec` the real program",
            server.pid
        )),
        Err(error) => Err(format!(
            "cannot find which process listens on {nbd}: {error}"
        )),
    }
}

/// Returns whether this process, and no other one, listens on that address.
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
