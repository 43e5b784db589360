//! Stops a server, and makes sure that it has ended.
//!
//! 1. Send SIGTERM to the supervisor, which ends the server. The server has nothing to flush: the caller
//!    has disconnected its client before.
//! 2. Kill the server and the supervisor if they still run near the deadline.
//! 3. Take the directory's lock. A supervisor holds it as long as it runs, so none can start a server now.
//! 4. Find a server that a killed supervisor did not record, and kill it.
//! 5. Remove `spec.json`: a supervisor that starts later has nothing to start.
//!
//! If `stop` is interrupted after any step, the next `stop` completes it.

use std::time::Duration;

use hostos::{files, json_file, Deadline, Process};
use nix::sys::signal::Signal;

use super::{Server, State, EXIT, SPEC, STATE};
use crate::Error;

const POLL: Duration = Duration::from_millis(20);

impl Server {
    /// Ends the server and its supervisor. After `Ok`, the server has ended, and no earlier launch can start
    /// one. A supervisor whose server had ended before may still be reporting that. Succeeds if none ran.
    ///
    /// # Errors
    /// [`Error::NotGone`] if one still runs at the deadline; [`Error::Locked`], [`Error::File`],
    /// [`Error::Garbled`], [`Error::Signal`]. After an error, no other host may use the volume.
    pub fn stop(&self, limit: Duration) -> Result<(), Error> {
        if !self.directory.exists() {
            return Ok(());
        }
        let deadline = Deadline::after(limit);
        if let Some(state) = self.state()? {
            self.end(&state, limit, deadline)?;
        }
        let _lock = self.lock(deadline)?;
        // Read again: the supervisor may have recorded the server before its end.
        if let Some(state) = self.state()? {
            for server in self.left_behind(&state)? {
                log::warn!(
                    "the server of volume {} has no supervisor: ending pid {}",
                    self.volume,
                    server.pid
                );
                self.kill(&server, deadline)?;
            }
        }
        Ok(files::remove(&self.file(SPEC))?)
    }

    fn state(&self) -> Result<Option<State>, Error> {
        Ok(json_file::read(&self.file(STATE))?)
    }

    fn end(&self, state: &State, limit: Duration, deadline: Deadline) -> Result<(), Error> {
        // After `exit.json`, a supervisor does nothing to the volume.
        let over = || self.file(EXIT).exists();
        if over() {
            return Ok(());
        }
        if state.supervisor.is_alive()? {
            send(&state.supervisor, Signal::SIGTERM)?;
        } else if let Some(server) = &state.server {
            send(server, Signal::SIGTERM)?;
        }
        let polite = Deadline::after(limit / 2);
        // The server first, so that its supervisor can record how it ended.
        let all = || state.server.iter().chain([&state.supervisor]);
        for process in all() {
            while !over() && process.is_alive()? && !polite.passed() {
                polite.sleep(POLL);
            }
        }
        if over() {
            return Ok(());
        }
        all().try_for_each(|process| self.kill(process, deadline))
    }

    fn kill(&self, process: &Process, deadline: Deadline) -> Result<(), Error> {
        send(process, Signal::SIGKILL)?;
        while process.is_alive()? {
            if deadline.passed() {
                return Err(Error::NotGone {
                    volume: self.volume,
                    pid: process.pid,
                });
            }
            deadline.sleep(POLL);
        }
        Ok(())
    }
}

fn send(process: &Process, signal: Signal) -> Result<(), Error> {
    process.signal(signal).map_err(|source| Error::Signal {
        pid: process.pid,
        signal: signal.as_str(),
        source,
    })
}
