//! Records of devices and their identifiers, for kernels that do not keep the identifier.
//!
//! One file for each identifier, each time replaced in one step. It is written before the request to the
//! kernel, with the requested index, and again with the new connection. If the process is killed in between,
//! the first form is enough to identify the device: the socket of the record still exists, so the kernel
//! holds it, and the request had this index.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hostos::{files, json_file, Process};
use procfs::net::{tcp, tcp6, TcpState};
use procfs::{ProcError, ProcResult};
use serde::{Deserialize, Serialize};

use crate::Error;

const SUFFIX: &str = ".json";
const LONGEST: usize = 64;

/// A connection, requested or established.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub identifier: String,
    /// The N of `/dev/nbdN`.
    pub index: u32,
    /// The boot of the other numbers.
    pub boot_id: String,
    pub address: SocketAddr,
    pub export: String,
    /// The inode of the socket that is connected to the server.
    pub socket: u64,
    /// The process that connected.
    pub owner: Owner,
    /// The result of [`Nbd::connection`](super::Nbd); `None` before it is established.
    pub connection: Option<u64>,
}

/// A process of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub pid: u32,
    /// In clock ticks since the boot.
    pub start_time: u64,
}

impl Record {
    /// Returns whether this is the record of the current connection of the device with its index. `named`:
    /// the kernel shows the record's identifier for that device.
    pub(super) fn is_of(&self, connection: u64, boot_id: &str, named: bool) -> Result<bool, Error> {
        Ok(self.boot_id == boot_id
            && match self.connection {
                Some(mine) => mine == connection,
                None => named || self.is_held_by_the_kernel()?,
            })
    }

    /// Returns whether the socket exists and the process that opened it has ended: the kernel then holds it.
    fn is_held_by_the_kernel(&self) -> Result<bool, Error> {
        let owner = Process {
            boot_id: self.boot_id.clone(),
            pid: self.owner.pid,
            start_time: self.owner.start_time,
        };
        Ok(!owner.is_alive()? && self.socket_state()?.is_some())
    }

    /// Returns whether the connection to the server is up.
    pub(super) fn is_up(&self) -> Result<bool, Error> {
        Ok(matches!(self.socket_state()?, Some(TcpState::Established)))
    }

    /// `None` if it is closed.
    fn socket_state(&self) -> Result<Option<TcpState>, Error> {
        let (path, read): (_, fn() -> _) = match self.address {
            SocketAddr::V4(_) => ("/proc/net/tcp", tcp),
            SocketAddr::V6(_) => ("/proc/net/tcp6", tcp6),
        };
        let table: ProcResult<Vec<_>> = read();
        let table = table.map_err(|error| {
            let source = match error {
                ProcError::Io(source, _) => source,
                other => io::Error::other(other),
            };
            Error::io("read", Path::new(path), source)
        })?;
        Ok(table
            .into_iter()
            .find(|entry| entry.inode == self.socket && entry.remote_address == self.address)
            .map(|entry| entry.state))
    }
}

/// The directory of records.
#[derive(Clone, Debug)]
pub(super) struct Records(PathBuf);

impl Records {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns all records. May omit one that is written or removed during the call.
    pub(super) fn all(&self) -> Result<Vec<Record>, Error> {
        let failed = |error| Error::io("list", &self.0, error);
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            if let Some(identifier) = name.strip_suffix(SUFFIX).filter(|id| !id.starts_with('.')) {
                found.extend(self.read(identifier)?);
            }
        }
        Ok(found)
    }

    pub(super) fn read(&self, identifier: &str) -> Result<Option<Record>, Error> {
        let path = self.path(identifier);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        match serde_json::from_str(&text) {
            Ok(record) => Ok(Some(record)),
            Err(_) => Err(Error::Unreadable {
                path,
                text,
                expected: "the record of an NBD device",
            }),
        }
    }

    /// Replaces the record of that identifier.
    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        files::create_directory(&self.0)?;
        Ok(json_file::write(&self.path(&record.identifier), record)?)
    }

    /// Removes the record. Succeeds if there is none.
    pub(super) fn remove(&self, identifier: &str) -> Result<(), Error> {
        Ok(json_file::remove_with_leftovers(&self.path(identifier))?)
    }

    fn path(&self, identifier: &str) -> PathBuf {
        self.0.join(format!("{identifier}{SUFFIX}"))
    }
}

/// Refuses an identifier that is no safe file name.
pub(super) fn check_identifier(identifier: &str) -> Result<(), Error> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if identifier.is_empty() || identifier.len() > LONGEST || !identifier.chars().all(is_plain) {
        return Err(Error::Invalid {
            what: "identifier of an NBD device",
            value: identifier.to_owned(),
            expected: format!("1 to {LONGEST} letters, digits, - and _, such as a UUID"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
