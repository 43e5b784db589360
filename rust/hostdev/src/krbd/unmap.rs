//! Unmapping, and who is in the way of it.

use std::time::Duration;

use hostos::deadline::{by_deadline, Deadline};
use nix::errno::Errno;

use super::writer::write_command;
use super::{Krbd, Mapping};
use crate::openers::BlockDevice;
use crate::Error;

/// How often a busy device is tried again: whoever looks at new devices (udev) is done soon.
const RETRY: Duration = Duration::from_millis(100);
/// How long an unmap waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// How long the search for those who have a device open may take: it serves a message.
const SEARCH: Duration = Duration::from_secs(1);

impl Krbd {
    /// Takes a mapping away. One that is gone already is a success, also where its number has gone
    /// to another image: that one is left alone.
    ///
    /// # Errors
    /// - [`Error::Busy`]: still open somewhere at the deadline; it names who, as far as this host
    ///   shows it. It may still go, until this process ends, if it is closed.
    /// - [`Error::Timeout`]: the kernel did not answer; the mapping may still go, until this
    ///   process ends.
    /// - [`Error::Io`]: the kernel refused.
    pub fn unmap(&self, mapping: &Mapping, deadline: Duration) -> Result<(), Error> {
        // A map that hangs in the kernel must not keep what is mapped from being unmapped.
        let _locked = self
            .lock(Deadline::after(deadline.min(TURN)), TURN)
            .inspect_err(|e| log::warn!("unmapping {} all the same: {e}", mapping.spec()));
        self.remove(mapping, Deadline::after(deadline), deadline)
    }

    /// As [`Krbd::unmap`], under the lock. The command names the device's number alone. Between the
    /// look at what the number stands for and the command, only a foreign tool can unmap the device
    /// and have the number given to another one.
    pub(super) fn remove(
        &self,
        mapping: &Mapping,
        end: Deadline,
        deadline: Duration,
    ) -> Result<(), Error> {
        let busy = || Error::Busy {
            device: mapping.device.clone(),
            waited: deadline,
            openers: self.openers(mapping),
        };
        let mut was_busy = false;
        loop {
            if !self.is_mapped(mapping)? {
                self.forget_label_unless_used(mapping)?;
                return Ok(());
            }
            let file = self.command_file("remove")?;
            let command = mapping.device_number.to_string();
            let outcome = by_deadline(end, {
                let file = file.clone();
                move || write_command(&file, &command)
            })
            .map_err(|error| Error::io("write to", &file, error))?;
            let error = match outcome {
                Some(Ok(())) => {
                    self.forget_label_unless_used(mapping)?;
                    log::info!(
                        "unmapped {} from {}",
                        mapping.spec(),
                        mapping.device.display()
                    );
                    return Ok(());
                }
                Some(Err(error)) => error,
                // The last attempt had too little time left to be refused like those before.
                None if was_busy => return Err(busy()),
                None => {
                    return Err(Error::Timeout {
                        action: "unmap",
                        object: format!("{} ({})", mapping.device.display(), mapping.spec()),
                        waited: deadline,
                        advice: "the cluster does not answer this host's kernel: check its health \
                                 (`ceph -s`) and the network"
                            .to_owned(),
                    })
                }
            };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) if !self.is_mapped(mapping)? => return Ok(()),
                // EINPROGRESS: somebody else is unmapping it now.
                Some(Errno::EBUSY | Errno::EINPROGRESS) if end.left() > RETRY => {
                    was_busy = true;
                    std::thread::sleep(RETRY);
                }
                Some(Errno::EBUSY | Errno::EINPROGRESS) => return Err(busy()),
                _ => return Err(Error::io("write to", &file, error)),
            }
        }
    }

    fn openers(&self, mapping: &Mapping) -> Vec<String> {
        let device = BlockDevice {
            node: &mapping.device,
            sysfs: &self.sysfs,
            name: &format!("rbd{}", mapping.device_number),
            major: mapping.major,
            minor: mapping.minor,
        };
        device.openers(Deadline::after(SEARCH))
    }

    /// Another process may have mapped the number anew, with a label of its own.
    fn forget_label_unless_used(&self, mapping: &Mapping) -> Result<(), Error> {
        if self.mapping(mapping.device_number)?.is_none() {
            self.forget_label(mapping.device_number);
        }
        Ok(())
    }

    fn is_mapped(&self, mapping: &Mapping) -> Result<bool, Error> {
        let now = self.mapping(mapping.device_number)?;
        Ok(now.is_some_and(|now| now.key == mapping.key && now.label == mapping.label))
    }
}

#[cfg(test)]
#[path = "unmap_tests.rs"]
mod tests;
