//! Disconnecting a device, and what has to come before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use hostos::deadline::{by_deadline, Call, Deadline};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::connect::no_family;
use super::netlink::Netlink;
use super::{Found, Nbd, NbdDevice};
use crate::openers::BlockDevice;
use crate::Error;

/// How long a busy device is tried again: whoever merely looks at devices (udev) is done by then.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(10);

const EBUSY: i32 = Errno::EBUSY as i32;
const STUCK: &str = "its server does not answer: once that is stopped, try again";

impl Nbd {
    /// Flushes a device and takes it away. One that is gone already is a success; so is one whose
    /// index serves another identifier now, and that one is left alone.
    ///
    /// The kernel would disconnect a device that is open as well; so whoever has it open is looked
    /// for before, and the caller sees to it that nobody opens it meanwhile.
    ///
    /// A device whose connection is dead is not flushed, and need not be closed to be disconnected:
    /// that is what makes those requests fail that were on their way when the connection broke. But
    /// it is there until it is closed, and [`Error::Busy`] says so.
    ///
    /// # Errors
    /// - [`Error::Busy`]: somebody has it open; it names who, as far as this host shows it.
    /// - [`Error::Io`]: it could not be flushed although its server is there. It stays connected;
    ///   once the server is stopped, it can be disconnected.
    /// - [`Error::Timeout`]: the server did not answer the flush (it stays connected, as above), or
    ///   the kernel did not let go.
    /// - [`Error::NbdKernel`]: the kernel refused.
    pub fn disconnect(&self, device: &NbdDevice, deadline: Duration) -> Result<(), Error> {
        let end = Deadline::after(deadline);
        let same = |found: &Found| found.device.index == device.index;
        if let Some(found) = self.lookup(&device.identifier)?.filter(same) {
            let flushed = match self.open_alone(&found, deadline, end)? {
                Some(opened) => found.flush(opened, deadline, end)?,
                None => None,
            };
            if flushed.is_none() {
                log::warn!(
                    "{} is disconnected without a flush: its server is gone",
                    found.name()
                );
            }
            self.let_go(&found, flushed, deadline, end)?;
            log::info!("disconnected {}", found.name());
        }
        // Also one that outlived its connection, as when somebody else disconnected the device.
        match self.records.read(&device.identifier)? {
            Some(record) if record.index == device.index => self.records.remove(&device.identifier),
            _ => Ok(()),
        }
    }

    /// Opens a device that nobody else has open. While it is held, nobody can mount it, or build
    /// another device on it. `None` if its connection is dead.
    fn open_alone(
        &self,
        found: &Found,
        limit: Duration,
        end: Deadline,
    ) -> Result<Option<File>, Error> {
        if found.is_dead()? {
            return Ok(None);
        }
        let node = &found.device.device;
        let patience = end.at_most(PATIENCE);
        found.ensure_node(end)?;
        let mut openers = self.openers(found, end);
        loop {
            if openers.is_empty() {
                // What was looked for in less time than it takes is not known to be missing.
                if end.passed() {
                    return Err(found.timeout("look who has open", limit, "try again"));
                }
                let answer = found.ask(end, {
                    let node = node.clone();
                    move || {
                        OpenOptions::new()
                            .read(true)
                            .custom_flags(OFlag::O_EXCL.bits())
                            .open(node)
                    }
                })?;
                match answer {
                    Answer::Done(Ok(file)) => return Ok(Some(file)),
                    Answer::Done(Err(error)) if error.raw_os_error() == Some(EBUSY) => {}
                    Answer::Done(Err(error)) => return Err(Error::io("open", node, error)),
                    Answer::Dead => return Ok(None),
                    Answer::Late => return Err(found.timeout("open", limit, STUCK)),
                }
            }
            patience.sleep(RETRY);
            let now = self.openers(found, end);
            if patience.passed() {
                return Err(found.busy(limit, openers));
            }
            openers = now;
        }
    }

    fn openers(&self, found: &Found, end: Deadline) -> Vec<String> {
        let device = BlockDevice {
            node: &found.device.device,
            sysfs: &self.sysfs,
            name: &format!("nbd{}", found.device.index),
            major: found.number.0,
            minor: found.number.1,
        };
        device.openers(end)
    }

    /// Has the kernel end the connection, and waits until it has.
    ///
    /// The kernel carries out one such command at a time, for all of generic netlink, and would wait
    /// in it for a server that takes nothing: that is why only a flushed or dead device comes here.
    fn let_go(
        &self,
        found: &Found,
        held: Option<File>,
        limit: Duration,
        end: Deadline,
    ) -> Result<(), Error> {
        let index = found.device.index;
        let action = format!("disconnect {}", found.name());
        let outcome = by_deadline(end, move || {
            let netlink = Netlink::open().map_err(no_family)?;
            netlink
                .disconnect(index)
                .map_err(|source| Error::NbdKernel {
                    action,
                    source,
                    advice: "see `dmesg`",
                })
        });
        match outcome {
            Ok(Some(answer)) => answer?,
            Ok(None) => return Err(found.timeout("disconnect", limit, STUCK)),
            Err(error) => return Err(Error::io("disconnect", &found.device.device, error)),
        }
        // The kernel keeps what is left of the connection for as long as the device is open.
        drop(held);
        let patience = end.at_most(PATIENCE);
        while !self.is_over(found)? {
            if patience.passed() {
                let openers = self.openers(found, end);
                return Err(if openers.is_empty() {
                    found.timeout("see the end of", limit, "see `dmesg`")
                } else {
                    found.busy(limit, openers)
                });
            }
            patience.sleep(POLL);
        }
        Ok(())
    }

    fn is_over(&self, found: &Found) -> Result<bool, Error> {
        Ok(match self.connection(found.device.index)? {
            Some(now) => now != found.connection,
            None => self.size(found.device.index)?.is_none_or(|size| size == 0),
        })
    }
}

enum Answer<T> {
    Done(T),
    /// The connection died: there will be no answer before it is disconnected.
    Dead,
    Late,
}

impl Found {
    /// Whether the connection is known to be gone.
    fn is_dead(&self) -> Result<bool, Error> {
        match &self.record {
            Some(record) => Ok(!record.is_up()?),
            None => Ok(false),
        }
    }

    /// Has everything written reach the server, and stay there. `None` if the connection is dead.
    fn flush(&self, device: File, limit: Duration, end: Deadline) -> Result<Option<File>, Error> {
        let answer = self.ask(end, move || device.sync_all().map(|()| device))?;
        match answer {
            Answer::Done(Ok(device)) => Ok(Some(device)),
            // Of one whose record is lost, nothing else can be known.
            Answer::Done(Err(error)) if self.record.is_some() && !self.is_dead()? => {
                Err(Error::io("flush", &self.device.device, error))
            }
            Answer::Done(Err(_)) | Answer::Dead => Ok(None),
            Answer::Late => Err(self.timeout("flush", limit, STUCK)),
        }
    }

    /// Does what the device has to answer, for as long as there can be an answer.
    fn ask<T: Send + 'static>(
        &self,
        end: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Answer<T>, Error> {
        let failed = |error| Error::io("use", &self.device.device, error);
        let call = Call::start(work).map_err(failed)?;
        loop {
            let soon = end.at_most(RETRY);
            if let Some(answer) = call.wait(soon).map_err(failed)? {
                return Ok(Answer::Done(answer));
            }
            if self.is_dead()? {
                return Ok(Answer::Dead);
            }
            if end.passed() {
                return Ok(Answer::Late);
            }
        }
    }

    fn name(&self) -> String {
        format!(
            "{} ({})",
            self.device.device.display(),
            self.device.identifier
        )
    }

    fn busy(&self, limit: Duration, openers: Vec<String>) -> Error {
        Error::Busy {
            device: self.device.device.clone(),
            waited: PATIENCE.min(limit),
            openers,
        }
    }

    fn timeout(&self, action: &'static str, waited: Duration, advice: &str) -> Error {
        Error::Timeout {
            action,
            object: self.name(),
            waited,
            advice: advice.to_owned(),
        }
    }
}
