//! Unmapping, and who is in the way of it.

use std::time::Duration;

use nix::errno::Errno;

use super::writer::write_command;
use super::{Krbd, Mapping};
use crate::deadline::{by_deadline, Deadline};
use crate::openers::BlockDevice;
use crate::Error;

/// How often a busy device is tried again: whoever looks at new devices (udev) is done soon.
const RETRY: Duration = Duration::from_millis(100);
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
        let end = Deadline::after(deadline);
        let busy = || Error::Busy {
            device: mapping.device.clone(),
            waited: deadline,
            openers: self.openers(mapping),
        };
        let mut was_busy = false;
        loop {
            if !self.is_mapped(mapping)? {
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

    fn is_mapped(&self, mapping: &Mapping) -> Result<bool, Error> {
        let now = self.mapping(mapping.device_number)?;
        Ok(now.is_some_and(|now| now.key == mapping.key))
    }
}

#[cfg(test)]
#[path = "unmap_tests.rs"]
mod tests;
