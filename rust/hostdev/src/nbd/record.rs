//! Which device is whose, on kernels that do not keep it themselves.
//!
//! One file per identifier, replaced in one step each time. It is written before the kernel is
//! asked, with the index that it will be asked for, and again with the connection that came of it.
//! A process killed in between leaves the first form, and that suffices to tell: the server's
//! connection that it names is still there, with nobody but the kernel to hold it, and the kernel
//! was asked for no other index.

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

/// A connection that was asked for, or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub identifier: String,
    /// The N of `/dev/nbdN`.
    pub index: u32,
    /// All the other numbers are of this boot.
    pub boot_id: String,
    pub address: SocketAddr,
    pub export: String,
    /// The inode of the socket that is connected to the server.
    pub socket: u64,
    /// The process that connected.
    pub owner: Owner,
    /// As [`Nbd::connection`](super::Nbd) gives it; `None` while it is being made.
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
    /// Whether this record is of the connection that the device of its index has now. `named` is
    /// whether the kernel itself gives that device the record's identifier.
    pub(super) fn is_of(&self, connection: u64, boot_id: &str, named: bool) -> Result<bool, Error> {
        Ok(self.boot_id == boot_id
            && match self.connection {
                Some(mine) => mine == connection,
                None => named || self.was_left_to_the_kernel()?,
            })
    }

    /// Whether the socket outlived the process that opened it: then the kernel holds it.
    fn was_left_to_the_kernel(&self) -> Result<bool, Error> {
        let owner = Process {
            boot_id: self.boot_id.clone(),
            pid: self.owner.pid,
            start_time: self.owner.start_time,
        };
        Ok(!owner.is_alive()? && self.socket_state()?.is_some())
    }

    /// Whether the connection to the server is up.
    pub(super) fn is_up(&self) -> Result<bool, Error> {
        Ok(matches!(self.socket_state()?, Some(TcpState::Established)))
    }

    /// `None` once it is closed.
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

/// The folder of records.
#[derive(Clone, Debug)]
pub(super) struct Records(PathBuf);

impl Records {
    pub(super) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// All records. One that comes or goes while this reads is left out.
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

    /// Removes the record; that there is none is a success.
    pub(super) fn remove(&self, identifier: &str) -> Result<(), Error> {
        Ok(json_file::remove_with_leftovers(&self.path(identifier))?)
    }

    fn path(&self, identifier: &str) -> PathBuf {
        self.0.join(format!("{identifier}{SUFFIX}"))
    }
}

/// Refuses what cannot be the name of a file.
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
#[path = "record_tests.rs"]
mod tests;
