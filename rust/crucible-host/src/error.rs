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
    /// A file or a directory could not be read, written, created, ...
    #[error("cannot {action} {path}: {}", describe_io(.source))]
    File {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// A file of a runtime directory is damaged.
    #[error(
        "{path} is damaged at line {line}, column {column}: find the volume's server with \
         `ps axww | grep -- --control`, stop it with `kill PID`, then remove the directory of this file"
    )]
    Garbled {
        /// The file.
        path: PathBuf,
        /// Where reading it failed, from 1.
        line: usize,
        /// Where in that line, from 1.
        column: usize,
    },

    /// Another process of this host holds the lock.
    #[error(
        "another process of this host holds the lock {path}: `fuser -v {path}` shows the process; try \
         again when it has ended"
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

    /// Two volumes have the same UUID or target.
    #[error("volume {volume} ({name}): {reason}")]
    Conflict {
        /// The later one.
        volume: Uuid,
        /// Its name.
        name: String,
        /// The UUID or target, and the earlier volume that has it.
        reason: String,
    },

    /// The text is not a volume's key.
    #[error(
        "{origin} contains {found}, not a key: a key is 32 bytes in base64, as `openssl rand -base64 32` \
         prints them"
    )]
    Key {
        /// The file or secret with the text.
        origin: String,
        /// A description of the text, never the text itself.
        found: String,
    },

    /// An upstairs does not reply.
    #[error(
        "no reply from the upstairs at http://{address}/info: {reason}; \
         `grep -i crucible /var/log/SMlog` shows the server's output"
    )]
    Control {
        /// The server's control address.
        address: SocketAddr,
        /// Why there is no reply.
        reason: String,
    },

    /// All ports are taken.
    #[error(
        "no two neighbouring ports are free on {address} between {first} and {last} for volume \
         {volume}: `ss -ltnp src {address}` shows the processes that use them"
    )]
    NoPort {
        /// The volume.
        volume: Uuid,
        /// The address that servers listen on.
        address: Ipv4Addr,
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },

    /// No process can listen on an address.
    #[error("cannot listen on {address}: {}; check that the loopback interface is up: `ip address show lo`", describe_io(.source))]
    Listen {
        /// The address and port.
        address: SocketAddr,
        /// The system's error.
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

    /// A server still runs.
    #[error(
        "a server of volume {volume} still runs on this host, pid {pid}: detach the VDI first \
         (`xe vbd-unplug uuid=VBD_UUID`)"
    )]
    StillRunning {
        /// The volume.
        volume: Uuid,
        /// The server, or its supervisor.
        pid: u32,
    },

    /// A server's supervisor could not be started.
    #[error("cannot start the supervisor of the server of volume {volume} with {how}: {reason}")]
    Launch {
        /// The volume.
        volume: Uuid,
        /// The command.
        how: String,
        /// Its output.
        reason: String,
    },

    /// A runtime directory has nothing to start.
    #[error(
        "there is nothing to serve in {directory}: attach the VDI to start its server \
         (`xe vbd-plug uuid=VBD_UUID`)"
    )]
    NothingToServe {
        /// The runtime directory.
        directory: PathBuf,
    },

    /// A server was started from that directory before.
    #[error(
        "generation {generation} of volume {volume} was used already, and a second server with it could \
         let two hosts write at once: detach the VDI and attach it again (`xe vbd-unplug uuid=VBD_UUID`, \
         `xe vbd-plug uuid=VBD_UUID`)"
    )]
    ServedAlready {
        /// The volume.
        volume: Uuid,
        /// The generation in its runtime directory.
        generation: u64,
    },

    /// The server's process could not be created.
    #[error("cannot start {server} for volume {volume}: {}", describe_io(.source))]
    Start {
        /// The volume.
        volume: Uuid,
        /// The program.
        server: PathBuf,
        /// The system's error.
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

    /// The server is not ready at the deadline.
    #[error("the server of volume {volume} is not ready after {seconds} s: {waiting_for}")]
    NotReady {
        /// The volume.
        volume: Uuid,
        /// The length of the wait.
        seconds: u64,
        /// The condition that is missing.
        waiting_for: String,
    },

    /// A signal could not be sent.
    #[error("cannot send {signal} to pid {pid}: {}", describe_io(.source))]
    Signal {
        /// The process.
        pid: u32,
        /// The signal.
        signal: &'static str,
        /// The system's error.
        source: io::Error,
    },

    /// A process does not end.
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
        /// `volume UUID`, or `the volumes of SR UUID`.
        what: String,
        /// Its stderr, or what is wrong with its reply.
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
