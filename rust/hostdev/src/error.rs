//! What can go wrong with this host's block devices.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostos::errno::describe_io;
use hostos::{FileError, HasErrno};
use nix::errno::Errno;

use crate::features;
use crate::krbd::ImageKey;

/// Why a call failed: on which object, with which errno, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no such module, or it could not be loaded.
    #[error(
        "kernel module {module} is not loaded and could not be: {reason}; \
         install it for this kernel, then `modprobe {module}`"
    )]
    ModuleMissing {
        /// The module's name.
        module: &'static str,
        /// What loading it answered.
        reason: String,
    },

    /// A file of the kernel's could not be read or written.
    #[error("cannot {action} {path}: {}", describe_io(.source))]
    Io {
        /// `read`, `write to`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// The kernel said something in a form that is not known here.
    #[error("{path} says {text:?}, which is not {expected}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Its text.
        text: String,
        /// The form that was expected.
        expected: &'static str,
    },

    /// The caller asked for something that cannot be.
    #[error("{what} {value:?} cannot be used: expected {expected}")]
    Invalid {
        /// What the value was meant for.
        what: &'static str,
        /// The value (never a secret).
        value: String,
        /// What would have been right.
        expected: String,
    },

    /// The kernel did not take the user's cephx key into its keyring.
    #[error("cannot add the key of client.{user} to the kernel's keyring: {}: {advice}", describe_io(.source))]
    Keyring {
        /// The cephx user, without `client.`.
        user: String,
        /// What that usually means and what to do.
        advice: String,
        /// The system's answer.
        source: io::Error,
    },

    /// The kernel refused to map an image.
    #[error("cannot map {image}: {}: {advice}{}", describe_io(.source), kernel_log(.reason.as_deref()))]
    Map {
        /// `pool/image`, `pool/namespace/image@snapshot`, ...
        image: String,
        /// The kernel's answer.
        source: io::Error,
        /// What that usually means and what to do.
        advice: String,
        /// What the kernel logged meanwhile, where that could be read.
        reason: Option<String>,
    },

    /// The image has features that this kernel's client does not know.
    #[error(
        "cannot map {image}: this kernel does not support its features {}; {}",
        features::describe(*.unsupported),
        drop_features(.pool_and_image, *.unsupported)
    )]
    UnsupportedFeatures {
        /// `pool/image`, with the snapshot if one was asked for.
        image: String,
        /// `pool/image` alone, as `rbd feature` takes it.
        pool_and_image: String,
        /// The features in the way.
        unsupported: u64,
    },

    /// The name led to another image than the one asked for. That mapping has been removed.
    #[error(
        "{image} is a different image now (asked for {}, mapped {}): it was removed and created \
         again, or replaced; scan the storage repository",
        identity(.asked), identity(.found)
    )]
    OtherImage {
        /// The name that was mapped.
        image: String,
        /// The image asked for.
        asked: Box<ImageKey>,
        /// The image that the name stands for now.
        found: Box<ImageKey>,
    },

    /// The kernel reported success, and yet nothing is there.
    #[error("the kernel mapped {image}, but {missing}; see `dmesg`")]
    NoDevice {
        /// The image, by name.
        image: String,
        /// What is not there.
        missing: String,
    },

    /// An NBD server could not be reached, or the connection to it broke during the handshake.
    #[error("cannot {action} the NBD server at {server}: {}; check that it runs and listens there", describe_io(.source))]
    NbdServer {
        /// `connect to`, `negotiate with`.
        action: &'static str,
        /// Where it should listen.
        server: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },

    /// What listens at the address is no NBD server, or refuses, or offers what cannot be used.
    #[error("the NBD server at {server} {problem}")]
    NbdExport {
        /// Where it listens.
        server: SocketAddr,
        /// What is wrong, and what to do about it.
        problem: String,
        /// The errno that stands for it.
        errno: i32,
    },

    /// The kernel's NBD client refused.
    #[error("the kernel cannot {action}: {}: {advice}", describe_io(.source))]
    NbdKernel {
        /// `connect /dev/nbd64 to the NBD server at 127.0.0.1:20000`, ...
        action: String,
        /// The kernel's answer.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },

    /// A process has the device open.
    #[error("{} is still in use after {}: {}", .device.display(), seconds(*.waited), opened_by(.openers))]
    Busy {
        /// The device.
        device: PathBuf,
        /// How long it was tried.
        waited: Duration,
        /// Who has it open, as far as this host shows it.
        openers: Vec<String>,
    },

    /// The deadline passed before the kernel replied. What was asked may still happen, until the
    /// calling process ends.
    #[error("cannot {action} {object}: no reply after {}; {advice}", seconds(*.waited))]
    Timeout {
        /// `map`, `unmap`, ...
        action: &'static str,
        /// On what.
        object: String,
        /// The deadline.
        waited: Duration,
        /// What to look at.
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

    /// The errno that stands for this failure: the system's own where it gave one.
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

fn opened_by(openers: &[String]) -> String {
    if openers.is_empty() {
        "no process of this host shows it open (it may be open in another mount namespace, or in the kernel)"
            .to_owned()
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

fn drop_features(image: &str, unsupported: u64) -> String {
    let droppable = features::names(unsupported & features::DROPPABLE);
    let fixed = unsupported & !features::DROPPABLE;
    let mut advice = Vec::new();
    if !droppable.is_empty() {
        advice.push(format!(
            "drop them with `rbd feature disable {image} {}`",
            droppable.join(" ")
        ));
    }
    if fixed != 0 {
        advice.push(format!(
            "{} cannot be dropped: copy the image to one without, or use a newer kernel",
            features::describe(fixed)
        ));
    }
    advice.join("; ")
}
