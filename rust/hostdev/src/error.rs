//! Errors of this host's block devices.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostos::errno::describe_io;
use hostos::{FileError, HasErrno};
use nix::errno::Errno;

use crate::features::ImageFeatures;
use crate::krbd::ImageKey;

/// Why a call failed: on which object, with which errno, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no such module, or it could not be loaded.
    #[error(
        "cannot load the kernel module {module}: {reason}; \
         install it for this kernel, then run `modprobe {module}`"
    )]
    ModuleMissing {
        /// The module's name.
        module: &'static str,
        /// Why it could not be loaded.
        reason: String,
    },

    /// A file of the kernel could not be read or written.
    #[error("cannot {action} {path}: {}", describe_io(.source))]
    Io {
        /// `read`, `write to`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// A file of the kernel or of smblock has an unknown form.
    #[error("{path} contains {text:?}, which is not {expected}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Its text.
        text: String,
        /// The form that was expected.
        expected: &'static str,
    },

    /// A value of the request is invalid.
    #[error("{what} {value:?} cannot be used: expected {expected}")]
    Invalid {
        /// The kind of the value.
        what: &'static str,
        /// The value (never a secret).
        value: String,
        /// The values that are valid.
        expected: String,
    },

    /// The kernel refused to add the user's cephx key to its keyring.
    #[error("cannot add the key of client.{user} to the kernel's keyring: {}: {advice}", describe_io(.source))]
    Keyring {
        /// The cephx user, without `client.`.
        user: String,
        /// The usual cause, and the remedy.
        advice: String,
        /// The system's error.
        source: io::Error,
    },

    /// The kernel refused to map an image.
    #[error("cannot map {image}: {}: {advice}{}", describe_io(.source), kernel_log(.reason.as_deref()))]
    Map {
        /// `pool/image`, `pool/namespace/image@snapshot`, ...
        image: String,
        /// The kernel's error.
        source: io::Error,
        /// The usual cause, and the remedy.
        advice: String,
        /// The kernel's log during the map, if it could be read.
        reason: Option<String>,
    },

    /// The image has features that this kernel does not support.
    #[error(
        "cannot map {image}: this kernel does not support its features {unsupported}; {}",
        .unsupported.advice(.pool_and_image)
    )]
    UnsupportedFeatures {
        /// `pool/image`, with the snapshot if the request has one.
        image: String,
        /// `pool/image` alone, the form that `rbd feature` needs.
        pool_and_image: String,
        /// The features that the kernel does not support.
        unsupported: ImageFeatures,
    },

    /// Another image has the name now. That mapping was removed.
    #[error(
        "{image} is a different image now (requested {}, mapped {}): it was removed and created \
         again, or replaced; scan the storage repository (`xe sr-scan uuid=SR_UUID`)",
        identity(.asked), identity(.found)
    )]
    OtherImage {
        /// The name that was mapped.
        image: String,
        /// The requested image.
        asked: Box<ImageKey>,
        /// The image that has the name now.
        found: Box<ImageKey>,
    },

    /// The kernel reported success, but there is no device.
    #[error("the kernel mapped {image}, but {missing}; see `dmesg`")]
    NoDevice {
        /// The image, by name.
        image: String,
        /// What is missing.
        missing: String,
    },

    /// An NBD server could not be reached, or the connection to it broke during the handshake.
    #[error("cannot {action} the NBD server at {server}: {}; check that it runs and listens there", describe_io(.source))]
    NbdServer {
        /// `connect to`, `negotiate with`.
        action: &'static str,
        /// The address.
        server: SocketAddr,
        /// The system's error.
        source: io::Error,
    },

    /// The program at the address is no NBD server, or refuses, or has no usable export.
    #[error("the NBD server at {server} {problem}")]
    NbdExport {
        /// The address.
        server: SocketAddr,
        /// What is wrong, and the remedy.
        problem: String,
        /// The errno of this problem.
        errno: i32,
    },

    /// The kernel's NBD client refused.
    #[error("the kernel cannot {action}: {}: {advice}", describe_io(.source))]
    NbdKernel {
        /// `connect /dev/nbd64 to the NBD server at 127.0.0.1:20000`, ...
        action: String,
        /// The kernel's error.
        source: io::Error,
        /// The remedy.
        advice: &'static str,
    },

    /// A process has the device open.
    #[error("{} is still in use after {}: {}", .device.display(), seconds(*.waited), opened_by(.device, .openers))]
    Busy {
        /// The device.
        device: PathBuf,
        /// How long smblock tried.
        waited: Duration,
        /// The processes, mounts and devices that have it open, as far as this host shows them.
        openers: Vec<String>,
    },

    /// The deadline passed before the kernel replied. The action may still happen, until the calling
    /// process ends.
    #[error("cannot {action} {object}: no reply after {}; {advice}", seconds(*.waited))]
    Timeout {
        /// `map`, `unmap`, ...
        action: &'static str,
        /// The object of the action.
        object: String,
        /// The deadline.
        waited: Duration,
        /// The remedy.
        advice: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::ModuleMissing { .. } => "SMB-H002",
            Self::Io { .. } => FileError::ID,
            Self::Unreadable { .. } => "SMB-H003",
            Self::Invalid { .. } => "SMB-H004",
            Self::Keyring { .. } => "SMB-H005",
            Self::Map { .. } => "SMB-H006",
            Self::UnsupportedFeatures { .. } => "SMB-H007",
            Self::OtherImage { .. } => "SMB-H008",
            Self::NoDevice { .. } => "SMB-H009",
            Self::NbdServer { .. } => "SMB-H010",
            Self::NbdExport { .. } => "SMB-H011",
            Self::NbdKernel { .. } => "SMB-H012",
            Self::Busy { .. } => "SMB-H013",
            Self::Timeout { .. } => "SMB-H014",
        }
    }

    /// Returns the errno of this failure: that of the system if it has one.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Io { source, .. }
            | Self::Keyring { source, .. }
            | Self::Map { source, .. }
            | Self::NbdServer { source, .. }
            | Self::NbdKernel { source, .. } => source.raw_os_error().unwrap_or(Errno::EIO as i32),
            Self::NbdExport { errno, .. } => *errno,
            Self::ModuleMissing { .. } | Self::NoDevice { .. } => Errno::ENODEV as i32,
            Self::Unreadable { .. } => Errno::EIO as i32,
            Self::Invalid { .. } => Errno::EINVAL as i32,
            Self::UnsupportedFeatures { .. } => Errno::ENXIO as i32,
            Self::OtherImage { .. } => Errno::ESTALE as i32,
            Self::Busy { .. } => Errno::EBUSY as i32,
            Self::Timeout { .. } => Errno::ETIMEDOUT as i32,
        }
    }
}

impl HasErrno for Error {
    fn errno(&self) -> Option<i32> {
        Some(Error::errno(self))
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
        Self::Io {
            action,
            path,
            source,
        }
    }
}

fn kernel_log(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |text| format!(" (kernel log: {text})"))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn opened_by(device: &Path, openers: &[String]) -> String {
    if openers.is_empty() {
        format!(
            "no process of this host has it open; `grep -l {} /proc/*/mountinfo` shows processes with a mount \
             of it",
            device.display()
        )
    } else {
        format!("opened by {}", openers.join(", "))
    }
}

fn identity(key: &ImageKey) -> String {
    let snapshot = key
        .snap_id
        .map_or_else(String::new, |id| format!(" snapshot {id}"));
    let namespace = if key.namespace.is_empty() {
        String::new()
    } else {
        format!(" namespace {}", key.namespace)
    };
    format!(
        "image id {}{snapshot} in pool {}{namespace} of cluster {}",
        key.image_id, key.pool_id, key.fsid
    )
}
