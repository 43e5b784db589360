//! Why the server of exports cannot run.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use hostos::errno::describe_io;
use hostos::{FileError, HasErrno};

/// Why the server of exports does not start, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or a directory could not be read, written, created, ...
    #[error(transparent)]
    File(#[from] FileError),

    /// The configuration has an unknown setting, or a value that is not valid.
    ///
    /// Fix: Correct the line in `/etc/smblock/export.conf`, then `systemctl restart smblock-export`.
    #[error("the configuration of exports: {setting}: {reason}")]
    Setting {
        /// Its name.
        setting: String,
        /// Why it is refused.
        reason: String,
    },

    /// The server is to listen on an address that other machines reach, without TLS or without a check of its
    /// clients: each machine that reaches the port could write to the disks.
    ///
    /// Fix: Set all of `certificate`, `key` and `client-ca`, or listen on `127.0.0.1`.
    #[error(
        "exports cannot be served on {address} without {missing}: other machines reach that address, and clients \
         can write. Set it in /etc/smblock/export.conf, or set listen = 127.0.0.1"
    )]
    NeedsTls {
        /// The address.
        address: IpAddr,
        /// The settings that are missing.
        missing: String,
    },

    /// A certificate or a key cannot be used.
    ///
    /// Fix: Name a PEM file with a certificate or a key of that purpose.
    #[error("{path} cannot be used as the {purpose} of exports: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// `certificate`, `key` or `client-ca`.
        purpose: &'static str,
        /// Why.
        reason: String,
    },

    /// The server cannot listen on its address.
    ///
    /// Fix: Set another `port` in `/etc/smblock/export.conf`, then `systemctl restart smblock-export`.
    #[error(
        "cannot serve exports on {address}: {}: `ss -ltnp` shows which process has the port; \
         /etc/smblock/export.conf sets another",
        describe_io(.source)
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },

    /// Another server of exports runs on this host.
    ///
    /// Fix: None is needed: that server has all exports. `systemctl restart smblock-export` restarts it.
    #[error("a server of exports runs on this host already")]
    Running,
}

impl Error {
    /// Returns the id of the error in docs/user/errors.md.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::File(_) => FileError::ID,
            Self::Setting { .. } => "SMB-N001",
            Self::NeedsTls { .. } => "SMB-N002",
            Self::Certificate { .. } => "SMB-N003",
            Self::Listen { .. } => "SMB-N004",
            Self::Running => "SMB-N005",
        }
    }

    /// Returns the errno of the system's call that failed, if one did.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::File(error) => error.errno(),
            Self::Listen { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
