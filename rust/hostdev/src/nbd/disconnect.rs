//! Flushes and disconnects a device.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use hostos::deadline::{by_deadline, Call, Deadline};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::netlink::Netlink;
use super::{Found, Nbd, NbdDevice};
use crate::openers::BlockDevice;
use crate::Error;

/// How long a busy device is tried again: udev has closed it by then.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(10);

const EBUSY: i32 = Errno::EBUSY as i32;
const STUCK: &str = "its server does not reply: stop the server, then try again";

impl Nbd {
    /// Flushes a device and disconnects it. Succeeds if it is gone. If its index has another identifier now,
    /// that device stays.
    ///
    /// The kernel would also disconnect an open device. So this first searches for openers. The caller makes
    /// sure that no process opens the device at the same time.
    ///
    /// A device with a dead connection is not flushed, and can be disconnected while it is open: the requests
    /// in progress then fail. But the device exists until it is closed, and until then the error is
    /// [`Error::Busy`].
    ///
    /// # Errors
    /// - [`Error::Busy`]: it is open; the error has the openers that this host shows.
    /// - [`Error::Io`]: the flush failed although its server runs. It stays connected. When the server is
    ///   stopped, it can be disconnected.
    /// - [`Error::Timeout`]: the server did not reply to the flush (it stays connected, as above), or the
    ///   kernel did not end the connection.
    /// - [`Error::NbdKernel`]: the kernel refused.
    pub fn disconnect(&self, device: &NbdDevice, deadline: Duration) -> Result<(), Error> {
        let end = Deadline::after(deadline);
        let same = |found: &Found| found.device.index == device.index;
        if let Some(found) = self.lookup(&device.identifier)?.filter(same) {
            let flushed = match self.open_exclusive(&found, deadline, end)? {
                Some(opened) => found.flush(opened, deadline, end)?,
                None => None,
            };
            if flushed.is_none() {
                log::warn!(
                    "{} is disconnected without a flush: its server is gone",
                    found.name()
                );
            }
            self.end_connection(&found, flushed, deadline, end)?;
            log::info!("disconnected {}", found.name());
        }
        // Also if another program disconnected the device.
        match self.records.read(&device.identifier)? {
            Some(record) if record.index == device.index => self.records.remove(&device.identifier),
            _ => Ok(()),
        }
    }

    /// Opens a device exclusively. While the file is open, the device cannot be mounted, and no other device
    /// can be built on it. `None` if its connection is dead.
    fn open_exclusive(
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
                // An interrupted search may have missed openers.
                if end.passed() {
                    return Err(found.timeout("find the openers of", limit, "try again"));
                }
                let outcome = found.run(end, {
                    let node = node.clone();
                    move || {
                        OpenOptions::new()
                            .read(true)
                            .custom_flags(OFlag::O_EXCL.bits())
                            .open(node)
                    }
                })?;
                match outcome {
                    Outcome::Done(Ok(file)) => return Ok(Some(file)),
                    Outcome::Done(Err(error)) if error.raw_os_error() == Some(EBUSY) => {}
                    Outcome::Done(Err(error)) => return Err(Error::io("open", node, error)),
                    Outcome::Dead => return Ok(None),
                    Outcome::Late => return Err(found.timeout("open", limit, STUCK)),
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
            sysfs: self.sysfs.root(),
            name: &format!("nbd{}", found.device.index),
            major: found.number.0,
            minor: found.number.1,
        };
        device.openers(end)
    }

    /// Makes the kernel end the connection, and waits for that.
    ///
    /// The device must be flushed or dead. The kernel runs one such command of generic netlink at a time, and
    /// a server that reads nothing would block it.
    fn end_connection(
        &self,
        found: &Found,
        held: Option<File>,
        limit: Duration,
        end: Deadline,
    ) -> Result<(), Error> {
        let index = found.device.index;
        let action = format!("disconnect {}", found.name());
        let outcome = by_deadline(end, move || {
            let netlink = Netlink::open()?;
            netlink
                .disconnect(index)
                .map_err(|source| Error::NbdKernel {
                    action,
                    source,
                    advice: "see `dmesg`",
                })
        });
        match outcome {
            Ok(Some(result)) => result?,
            Ok(None) => return Err(found.timeout("disconnect", limit, STUCK)),
            Err(error) => return Err(Error::io("disconnect", &found.device.device, error)),
        }
        // The kernel keeps the rest of the connection as long as the device is open.
        drop(held);
        let patience = end.at_most(PATIENCE);
        while !self.is_over(found)? {
            if patience.passed() {
                let openers = self.openers(found, end);
                return Err(if openers.is_empty() {
                    found.timeout("end the connection of", limit, "see `dmesg`")
                } else {
                    found.busy(limit, openers)
                });
            }
            patience.sleep(POLL);
        }
        Ok(())
    }

    fn is_over(&self, found: &Found) -> Result<bool, Error> {
        Ok(match self.sysfs.connection(found.device.index)? {
            Some(now) => now != found.connection,
            None => self
                .sysfs
                .size(found.device.index)?
                .is_none_or(|size| size == 0),
        })
    }
}

enum Outcome<T> {
    Done(T),
    /// The connection is dead: the call returns only after a disconnect.
    Dead,
    Late,
}

impl Found {
    /// Returns whether the connection is dead; `false` without a record.
    fn is_dead(&self) -> Result<bool, Error> {
        match &self.record {
            Some(record) => Ok(!record.is_up()?),
            None => Ok(false),
        }
    }

    /// Flushes all written data to the server's storage. `None` if the connection is dead.
    fn flush(&self, device: File, limit: Duration, end: Deadline) -> Result<Option<File>, Error> {
        let outcome = self.run(end, move || device.sync_all().map(|()| device))?;
        match outcome {
            Outcome::Done(Ok(device)) => Ok(Some(device)),
            // Without a record, a failed flush counts as a dead connection.
            Outcome::Done(Err(error)) if self.record.is_some() && !self.is_dead()? => {
                Err(Error::io("flush", &self.device.device, error))
            }
            Outcome::Done(Err(_)) | Outcome::Dead => Ok(None),
            Outcome::Late => Err(self.timeout("flush", limit, STUCK)),
        }
    }

    /// Runs a call on the device until it returns, the connection dies or the deadline passes.
    fn run<T: Send + 'static>(
        &self,
        end: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Outcome<T>, Error> {
        let failed = |error| Error::io("use", &self.device.device, error);
        let call = Call::start(work).map_err(failed)?;
        loop {
            let soon = end.at_most(RETRY);
            if let Some(result) = call.wait(soon).map_err(failed)? {
                return Ok(Outcome::Done(result));
            }
            if self.is_dead()? {
                return Ok(Outcome::Dead);
            }
            if end.passed() {
                return Ok(Outcome::Late);
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
