//! NBD exports as block devices, connected by the kernel's own client over generic netlink.
//!
//! **Who holds what.** This module connects to the server and negotiates; then the kernel takes
//! over the connection, and no process is needed for it.
//!
//! **A connection that breaks** stays broken: a server that was started again may have lost what it
//! had acknowledged, so the kernel must not go on with it as if nothing had happened. Every request
//! made from then on fails at once (EIO). Those on their way at that moment fail when the device is
//! disconnected, or after an hour: whoever learns that a server died should call
//! [`Nbd::disconnect`], also for a device in use.
//!
//! **Identity.** A device is found by the identifier that it was connected with. From Linux 5.14 on
//! the kernel keeps that itself (`backend` in sysfs). Before, a record in `/run` names the device
//! and its connection; sysfs says whether it still has that one. A record that outlived its
//! connection leads nowhere.
//!
//! **Killed halfway.** However a process ends, either nothing is connected, or what is connected is
//! found. There is one exception: before Linux 5.14, if both the process and the server die between
//! two system calls of [`Nbd::connect`], a dead device stays until the host is booted again.
//!
//! **Deadlines.** The kernel may sit on a request. It is made on a thread of its own; when the
//! deadline passes, the caller gets [`Error::Timeout`](crate::Error::Timeout), and what was asked
//! may still happen, until the calling process ends.
//!
//! **Other users of NBD.** Devices begin at [`FIRST`]: whoever looks for a free one among the first
//! is not in the way, and finds none of these in its own.

mod connect;
mod disconnect;
mod handshake;
mod netlink;
mod record;
#[cfg(test)]
mod standin;
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

use hostos::boot_id;

use crate::{module, Error};
use record::{Record, Records};

const MODULE: &str = "nbd";
/// XAPI's own NBD client loads the module with this, and takes what is there if it is loaded.
const PARAMETERS: [&str; 1] = ["nbds_max=24"];
/// Before the identifier, in what the kernel is told.
const BACKEND: &str = "smblock:";

/// The index of the first device that this module connects. XAPI's NBD client takes those from 0.
pub const FIRST: u32 = 64;

/// The kernel's NBD client on this host.
#[derive(Clone, Debug)]
pub struct Nbd {
    sysfs: PathBuf,
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
    /// What it was connected as.
    pub identifier: String,
    /// Bytes.
    pub size: u64,
    /// Whether the kernel refuses writes to it.
    pub read_only: bool,
    /// Whether its connection to the server is known to be up. If it is not, every request fails,
    /// and the device can only be disconnected.
    pub connected: bool,
    /// The server; `None` if its record was lost.
    pub address: Option<SocketAddr>,
}

/// A device, and what else is known of it.
struct Found {
    device: NbdDevice,
    record: Option<Record>,
    connection: u64,
    /// The device's major and minor number.
    number: (u32, u32),
}

impl Default for Nbd {
    fn default() -> Self {
        Self::new()
    }
}

impl Nbd {
    /// The running kernel, at `/sys` and `/dev`, with records in `/run/smblock/nbd`.
    pub fn new() -> Self {
        Self::with_roots("/sys".into(), "/dev".into(), "/run/smblock/nbd".into())
    }

    /// The same with sysfs, the device nodes and the records elsewhere. The records belong on a
    /// file system that is empty after a boot.
    pub fn with_roots(sysfs: PathBuf, dev: PathBuf, run: PathBuf) -> Self {
        Self {
            sysfs,
            dev,
            records: Records::at(run),
        }
    }

    /// Loads the kernel's module unless it is there.
    ///
    /// # Errors
    /// [`Error::ModuleMissing`] with what `modprobe` said; [`Error::Timeout`].
    pub fn load_module(&self, deadline: Duration) -> Result<(), Error> {
        let sign = self.sysfs.join("module").join(MODULE);
        module::load(MODULE, &PARAMETERS, &sign, deadline)
    }

    /// All devices that this module connected and that are still so, by index; also those whose
    /// connection is dead. One that comes or goes while this reads may be left out.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`]: never a shorter list instead.
    pub fn devices(&self) -> Result<Vec<NbdDevice>, Error> {
        let found = self.search(None)?;
        Ok(found.into_iter().map(|found| found.device).collect())
    }

    /// The device that was connected as `identifier`, if it still is.
    ///
    /// # Errors
    /// As [`Nbd::devices`].
    pub fn find(&self, identifier: &str) -> Result<Option<NbdDevice>, Error> {
        Ok(self.lookup(identifier)?.map(|found| found.device))
    }

    fn lookup(&self, identifier: &str) -> Result<Option<Found>, Error> {
        Ok(self.search(Some(identifier))?.pop())
    }

    /// All devices, or those of one identifier.
    fn search(&self, wanted: Option<&str>) -> Result<Vec<Found>, Error> {
        let mut records = self.records.all()?;
        records.retain(|record| wanted.is_none_or(|wanted| record.identifier == wanted));
        let boot_id = boot_id()?;
        let mut found = Vec::new();
        for index in self.connected()? {
            found.extend(self.identify(index, wanted, &records, &boot_id)?);
        }
        Ok(found)
    }

    /// Whose device this is; `None` if it is not a wanted one.
    fn identify(
        &self,
        index: u32,
        wanted: Option<&str>,
        records: &[Record],
        boot_id: &str,
    ) -> Result<Option<Found>, Error> {
        let backend = self.backend(index)?;
        let Some(connection) = self.connection(index)? else {
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
            self.size(index)?,
            self.is_read_only(index)?,
            self.number(index)?,
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
#[path = "nbd/identity_tests.rs"]
mod tests;
