//! The certain end of a server.
//!
//! 1. The runner is told to end it. A server has nothing to flush by then: whoever used it has
//!    disconnected, which is the caller's part.
//! 2. What is still there near the deadline is killed.
//! 3. The folder's lock is taken, which its runner holds as long as it lives: none is about to start
//!    anything.
//! 4. What a killed runner left behind unnoted is looked for, and killed.
//! 5. `spec.json` goes: a runner that comes only now has nothing to start.
//!
//! Stopping half-way leaves something that can be stopped again.

use std::time::Duration;

use hostos::{files, json_file, Deadline, Process};
use nix::sys::signal::Signal;

use super::{Server, State, EXIT, SPEC, STATE};
use crate::Error;

const POLL: Duration = Duration::from_millis(20);

impl Server {
    /// Ends the server and its runner. After `Ok` the server is gone, and no launch of the past starts
    /// one any more. A runner whose server has ended may still be telling somebody about that. It is
    /// no error if none ran.
    ///
    /// # Errors
    /// [`Error::NotGone`] if one is still there at the deadline: the volume is then not to be used
    /// elsewhere. [`Error::Locked`], [`Error::File`], [`Error::Garbled`], [`Error::Signal`]: the
    /// same holds.
    pub fn stop(&self, limit: Duration) -> Result<(), Error> {
        if !self.folder.exists() {
            return Ok(());
        }
        let deadline = Deadline::after(limit);
        if let Some(state) = self.state()? {
            self.end(&state, limit, deadline)?;
        }
        let _lock = self.lock(deadline)?;
        // Read again: it may have noted more before its end.
        if let Some(state) = self.state()? {
            for server in self.left_behind(&state)? {
                log::warn!(
                    "the server of volume {} lost its runner: ending pid {}",
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
        // After `exit.json` a runner does nothing to the volume any more.
        let over = || self.file(EXIT).exists();
        if over() {
            return Ok(());
        }
        if state.runner.is_alive()? {
            send(&state.runner, Signal::SIGTERM)?;
        } else if let Some(server) = &state.server {
            send(server, Signal::SIGTERM)?;
        }
        let polite = Deadline::after(limit / 2);
        // The server first: its runner then still notes how it ended.
        let all = || state.server.iter().chain([&state.runner]);
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
