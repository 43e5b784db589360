//! What can go wrong with a volume.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hostos::errno::describe_io;
use hostos::json_file::ReadError;
use hostos::{FileError, HasErrno};
use uuid::Uuid;

use crate::server::Ended;

/// Why a call failed: on which volume, file or address, with which errno, and what to do about it.
/// None of these texts contains a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read, written, made, ...
    #[error("cannot {action} {path}: {}", describe_io(.source))]
    File {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A file of a run folder holds something else than was written there.
    #[error(
        "{path} is damaged at line {line}, column {column}: stop the volume's server by hand \
         (`ps axww | grep -- --control`), then remove that folder"
    )]
    Garbled {
        /// The file.
        path: PathBuf,
        /// Where reading it failed, from 1.
        line: usize,
        /// Where in that line, from 1.
        column: usize,
    },

    /// Another process of this host holds that file.
    #[error(
        "{path} is locked by another process of this host: see which with `fuser -v {path}`, \
         and try again when that process has ended"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },

    /// The file that declares volumes has a mistake.
    #[error("{path}, line {line}: {reason}")]
    Declaration {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to write instead.
        reason: String,
    },

    /// Two volumes have something in common that belongs to one.
    #[error("volume {volume} ({name}): {reason}")]
    Conflict {
        /// The later one.
        volume: Uuid,
        /// Its name.
        name: String,
        /// What both have, and whose it is.
        reason: String,
    },

    /// What should be a volume's key is none.
    #[error(
        "{origin} holds {found}, not a key: it takes 32 bytes in base64, as `openssl rand -base64 32` \
         prints them"
    )]
    Key {
        /// Where the text came from.
        origin: String,
        /// What it is instead (never the text itself).
        found: String,
    },

    /// An upstairs does not say what it does.
    #[error(
        "no reply from the upstairs at http://{address}/info: {reason}; \
         see the server's output in /var/log/SMlog"
    )]
    Control {
        /// The server's control address.
        address: SocketAddr,
        /// What happened instead.
        reason: String,
    },

    /// All ports are taken.
    #[error(
        "no two neighbouring ports are free on {address} between {first} and {last} for volume \
         {volume}: see which processes use them with `ss -ltnp src {address}`"
    )]
    NoPort {
        /// The volume.
        volume: Uuid,
        /// Where servers listen.
        address: Ipv4Addr,
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },

    /// Nothing can listen on an address.
    #[error("cannot listen on {address}: {}; is the loopback interface up (`ip address show lo`)?", describe_io(.source))]
    Listen {
        /// The address and port.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },

    /// The server's program cannot be used.
    #[error(
        "{path} cannot serve volumes: {reason}. Put a crucible-nbd-server there on every host, or \
         name another in device-config:server"
    )]
    Binary {
        /// The program.
        path: PathBuf,
        /// Why not.
        reason: String,
    },

    /// A server runs where none may.
    #[error(
        "a server of volume {volume} still runs on this host, pid {pid}: detach the VDI first"
    )]
    StillRunning {
        /// The volume.
        volume: Uuid,
        /// The server, or the process that looks after it.
        pid: u32,
    },

    /// The process that looks after a server could not be started.
    #[error("cannot start what runs the server of volume {volume}, by {how}: {reason}")]
    Launch {
        /// The volume.
        volume: Uuid,
        /// The command.
        how: String,
        /// What it said.
        reason: String,
    },

    /// A run folder has nothing to start.
    #[error(
        "there is nothing to serve in {folder}: servers are started by attaching the VDI, not by hand"
    )]
    NothingToServe {
        /// The run folder.
        folder: PathBuf,
    },

    /// A server was started from that folder before.
    #[error(
        "generation {generation} of volume {volume} was used already, and a server that asks for it \
         again may let two hosts write at once: detach the VDI and attach it again instead"
    )]
    ServedAlready {
        /// The volume.
        volume: Uuid,
        /// The generation in its run folder.
        generation: u64,
    },

    /// The server's process could not be made.
    #[error("cannot start {server} for volume {volume}: {}", describe_io(.source))]
    Start {
        /// The volume.
        volume: Uuid,
        /// The program.
        server: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// The server ended before it could be used.
    #[error("the server of volume {volume} did not start: {ended}")]
    EndedEarly {
        /// The volume.
        volume: Uuid,
        /// How it ended.
        ended: Ended,
    },

    /// The server cannot be used yet, and the deadline has come.
    #[error("the server of volume {volume} is not ready after {seconds} s: {waiting_for}")]
    NotReady {
        /// The volume.
        volume: Uuid,
        /// How long it was waited for.
        seconds: u64,
        /// What it waits for.
        waiting_for: String,
    },

    /// A signal could not be sent.
    #[error("cannot send {signal} to pid {pid}: {}", describe_io(.source))]
    Signal {
        /// The process.
        pid: u32,
        /// The signal.
        signal: &'static str,
        /// The system's answer.
        source: io::Error,
    },

    /// A process does not go away.
    #[error(
        "pid {pid}, a server of volume {volume}, is still there after SIGKILL: it hangs in the kernel \
         (`cat /proc/{pid}/stack`). Reboot this host before the volume is used anywhere else"
    )]
    NotGone {
        /// The volume.
        volume: Uuid,
        /// The process.
        pid: u32,
    },

    /// The provisioner failed.
    #[error("provisioner {path} could not {command} {what}: {reason}")]
    Provisioner {
        /// The program.
        path: PathBuf,
        /// `create`, `delete`, `copy`, `list` or `find`.
        command: &'static str,
        /// `volume UUID`, or what was listed.
        what: String,
        /// What it said, or what is wrong with its answer.
        reason: String,
    },
}

impl Error {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::File { .. } => FileError::ID,
            Self::Garbled { .. } => "SMB-X101",
            Self::Locked { .. } => "SMB-X102",
            Self::Declaration { .. } => "SMB-X103",
            Self::Conflict { .. } => "SMB-X104",
            Self::Key { .. } => "SMB-X105",
            Self::Control { .. } => "SMB-X106",
            Self::NoPort { .. } => "SMB-X107",
            Self::Listen { .. } => "SMB-X108",
            Self::Binary { .. } => "SMB-X109",
            Self::StillRunning { .. } => "SMB-X110",
            Self::Launch { .. } => "SMB-X111",
            Self::NothingToServe { .. } => "SMB-X112",
            Self::ServedAlready { .. } => "SMB-X113",
            Self::Start { .. } => "SMB-X114",
            Self::EndedEarly { .. } => "SMB-X115",
            Self::NotReady { .. } => "SMB-X116",
            Self::Signal { .. } => "SMB-X117",
            Self::NotGone { .. } => "SMB-X118",
            Self::Provisioner { .. } => "SMB-X119",
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Error::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl HasErrno for Error {
    fn errno(&self) -> Option<i32> {
        match self {
            Error::File { source, .. }
            | Error::Listen { source, .. }
            | Error::Start { source, .. }
            | Error::Signal { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    fn id(&self) -> Option<&'static str> {
        Some(Error::id(self))
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let FileError {
            action,
            path,
            source,
        } = error;
        Error::File {
            action,
            path,
            source,
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::File(error) => error.into(),
            ReadError::Damaged { path, line, column } => Error::Garbled { path, line, column },
        }
    }
}
