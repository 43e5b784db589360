//! NBD exports as block devices, connected by the kernel's own client over generic netlink.
//!
//! **The connection.** This module connects to the server and negotiates. Then the kernel takes over the
//! connection, which needs no process.
//!
//! **A broken connection** stays broken: a restarted server may have lost acknowledged data, so the kernel
//! must not reconnect. Every later request fails at once (EIO). Requests in progress fail when the device is
//! disconnected, or after an hour. So a caller that detects the death of a server should call
//! [`Nbd::disconnect`], also for a device in use.
//!
//! **Identity.** The caller finds a device by the identifier that it was connected with. Since Linux 5.14 the
//! kernel keeps the identifier (`backend` in sysfs). Before, a record in `/run` has the device and its
//! connection, and sysfs shows whether the device still has that connection. If not, the record is ignored.
//!
//! **A killed process** leaves either no connection, or a connection that the next process finds. With one
//! exception: before Linux 5.14, if both the process and the server die between two system calls of
//! [`Nbd::connect`], a dead device stays until the host reboots.
//!
//! **Deadlines.** A request to the kernel may block. A thread of its own makes it. When the deadline passes,
//! the caller gets [`Error::Timeout`](crate::Error::Timeout), and the request may still be carried out, until
//! the calling process ends.
//!
//! **Other users of NBD.** The indices of these devices begin at [`FIRST`]. Other programs use the first ones.

mod connect;
mod disconnect;
mod handshake;
mod netlink;
mod record;
#[cfg(test)]
mod sim;
mod sysfs;
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    pub(crate) use super::handshake::{Stream, Wire, HAS_FLAGS};
    pub(crate) use super::netlink::read_messages;
}

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use connect::ConnectRequest;

use hostos::{boot_id, Deadline};

use crate::{module, node, Error};
use record::{Record, Records};
use sysfs::Sysfs;

const MODULE: &str = "nbd";
/// XAPI's NBD client loads the module with this parameter. It also works with a loaded module without it.
const PARAMETERS: [&str; 1] = ["nbds_max=24"];
/// The prefix of the identifier in `backend`.
const BACKEND: &str = "smblock:";

/// The index of the first device that this module connects. XAPI's NBD client uses those from 0.
pub const FIRST: u32 = 64;

/// The kernel's NBD client on this host.
#[derive(Clone, Debug)]
pub struct Nbd {
    sysfs: Sysfs,
    dev: PathBuf,
    records: Records,
}

/// A device that this module connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NbdDevice {
    /// The block device.
    pub device: PathBuf,
    /// The N of `/dev/nbdN`.
    pub index: u32,
    /// The identifier that it was connected with.
    pub identifier: String,
    /// Bytes.
    pub size: u64,
    /// Whether the kernel refuses writes to it.
    pub read_only: bool,
    /// Whether its connection to the server is up. `false` also if its record was lost. If the connection is
    /// not up, every request fails, and the device can only be disconnected.
    pub connected: bool,
    /// The server; `None` if its record was lost.
    pub address: Option<SocketAddr>,
}

/// A device, with its record and its connection.
struct Found {
    device: NbdDevice,
    record: Option<Record>,
    connection: u64,
    /// The device's major and minor number.
    number: (u32, u32),
}

impl Found {
    /// Makes sure that the device node exists.
    fn ensure_node(&self, end: Deadline) -> Result<(), Error> {
        node::ensure(&self.device.device, self.number.0, self.number.1, end)
    }
}

impl Default for Nbd {
    fn default() -> Self {
        Self::new()
    }
}

impl Nbd {
    /// Returns the client of the running kernel, at `/sys` and `/dev`, with records in `/run/smblock/nbd`.
    pub fn new() -> Self {
        Self::with_roots("/sys".into(), "/dev".into(), "/run/smblock/nbd".into())
    }

    /// As [`Nbd::new`], with other paths of sysfs, the device nodes and the records. The records must be on a
    /// file system that is empty after a boot.
    pub fn with_roots(sysfs: PathBuf, dev: PathBuf, run: PathBuf) -> Self {
        Self {
            sysfs: Sysfs::at(sysfs),
            dev,
            records: Records::at(run),
        }
    }

    /// Loads the kernel's module if it is not loaded.
    ///
    /// # Errors
    /// [`Error::ModuleMissing`] with the output of `modprobe`; [`Error::Timeout`].
    pub fn load_module(&self, deadline: Duration) -> Result<(), Error> {
        let sign = self.sysfs.root().join("module").join(MODULE);
        module::load(MODULE, &PARAMETERS, &sign, deadline)
    }

    /// Returns all devices that this module connected and that are not disconnected, by index, also those
    /// with a dead connection. May omit a device that is connected or disconnected during the call.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`]: an incomplete list is never returned.
    pub fn devices(&self) -> Result<Vec<NbdDevice>, Error> {
        let found = self.search(None)?;
        Ok(found.into_iter().map(|found| found.device).collect())
    }

    /// Returns the device that is connected as `identifier`; `None` if there is none.
    ///
    /// # Errors
    /// As [`Nbd::devices`].
    pub fn find(&self, identifier: &str) -> Result<Option<NbdDevice>, Error> {
        Ok(self.lookup(identifier)?.map(|found| found.device))
    }

    fn lookup(&self, identifier: &str) -> Result<Option<Found>, Error> {
        Ok(self.search(Some(identifier))?.pop())
    }

    /// Returns all devices, or those of one identifier.
    fn search(&self, wanted: Option<&str>) -> Result<Vec<Found>, Error> {
        let mut records = self.records.all()?;
        records.retain(|record| wanted.is_none_or(|wanted| record.identifier == wanted));
        let boot_id = boot_id()?;
        let mut found = Vec::new();
        for index in self.sysfs.connected()? {
            found.extend(self.identify(index, wanted, &records, &boot_id)?);
        }
        Ok(found)
    }

    /// Returns the device of an index; `None` if this module did not connect it, or if `wanted` is another
    /// identifier.
    fn identify(
        &self,
        index: u32,
        wanted: Option<&str>,
        records: &[Record],
        boot_id: &str,
    ) -> Result<Option<Found>, Error> {
        let backend = self.sysfs.backend(index)?;
        let Some(connection) = self.sysfs.connection(index)? else {
            return Ok(None);
        };
        let named = match backend.as_deref().map(|name| name.strip_prefix(BACKEND)) {
            Some(Some(identifier)) if wanted.is_none_or(|wanted| wanted == identifier) => {
                Some(identifier)
            }
            Some(_) => return Ok(None),
            None => None,
        };
        let mut record = None;
        for candidate in records {
            if candidate.index == index
                && named.is_none_or(|identifier| candidate.identifier == identifier)
                && candidate.is_of(connection, boot_id, named.is_some())?
            {
                record = Some(candidate.clone());
            }
        }
        let recorded = record.as_ref().map(|record| record.identifier.as_str());
        let Some(identifier) = named.or(recorded) else {
            return Ok(None);
        };
        let (Some(size), Some(read_only), Some(number)) = (
            self.sysfs.size(index)?,
            self.sysfs.is_read_only(index)?,
            self.sysfs.number(index)?,
        ) else {
            return Ok(None);
        };
        let connected = match &record {
            Some(record) => record.is_up()?,
            None => false,
        };
        Ok(Some(Found {
            device: NbdDevice {
                device: self.dev.join(format!("nbd{index}")),
                index,
                identifier: identifier.to_owned(),
                size,
                read_only,
                connected,
                address: record.as_ref().map(|record| record.address),
            },
            record,
            connection,
            number,
        }))
    }
}

#[cfg(test)]
mod tests;
