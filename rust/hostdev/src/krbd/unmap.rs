//! Unmaps a device.

use std::time::Duration;

use hostos::deadline::{by_deadline, Deadline};
use nix::errno::Errno;

use super::client::Krbd;
use super::mapping::Mapping;
use super::writer::write_command;
use crate::openers::BlockDevice;
use crate::Error;

/// The pause before a busy device is tried again. udev has a new device open for a moment.
const RETRY: Duration = Duration::from_millis(100);
/// How long an unmap waits for the lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How long the search for the openers of a device may take. Only an error message needs it.
const SEARCH: Duration = Duration::from_secs(1);

impl Krbd {
    /// Removes a mapping. Succeeds if it is gone. If another image has its number now, that one stays.
    ///
    /// # Errors
    /// - [`Error::Busy`]: still open at the deadline; the error has the openers that this host shows. The
    ///   kernel may still remove it, until this process ends.
    /// - [`Error::Timeout`]: the kernel did not return; it may still remove the mapping, until this process
    ///   ends.
    /// - [`Error::Io`]: the kernel refused.
    pub fn unmap(&self, mapping: &Mapping, deadline: Duration) -> Result<(), Error> {
        // A map that hangs in the kernel with the lock must not block an unmap.
        let _locked = self
            .lock(Deadline::after(deadline.min(LOCK_WAIT)), LOCK_WAIT)
            .inspect_err(|e| log::warn!("unmapping {} without the lock: {e}", mapping.spec()));
        self.remove(mapping, Deadline::after(deadline), deadline)
    }

    /// As [`Krbd::unmap`], under the lock. The command has the device's number only. Between the check of
    /// the device and the command, only another program can unmap the device and map another image to the
    /// same number.
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
            let error =
                match outcome {
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
                    // The last attempt had too little time to fail with EBUSY.
                    None if was_busy => return Err(busy()),
                    None => return Err(Error::Timeout {
                        action: "unmap",
                        object: format!("{} ({})", mapping.device.display(), mapping.spec()),
                        waited: deadline,
                        advice:
                            "the cluster does not reply to this host's kernel: check its health \
                                 (`ceph -s`) and the network"
                                .to_owned(),
                    }),
                };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) if !self.is_mapped(mapping)? => return Ok(()),
                // EINPROGRESS: another process is unmapping it now.
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

    /// Another process may have mapped the number again, with its own label.
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
mod tests;
