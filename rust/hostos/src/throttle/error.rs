//! Why limits are not set.

use std::path::Path;
use std::time::Duration;

use crate::errno::HasErrno;
use crate::FileError;

/// How long the kernel may take. It waits for requests that are on their way.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Why limits could not be set or read.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    /// Neither hierarchy of control groups is there with its controller for block devices.
    ///
    /// Fix: On cgroup v1, mount the controller blkio. On v2, enable the controller io of the parent group.
    #[error("the limits of {device} cannot be set: the group {group} has no file {file}. Mount the controller blkio of cgroup v1, or enable the controller io of cgroup v2 ('echo +io > cgroup.subtree_control' in the group's parent)")]
    NoController {
        /// The device.
        device: String,
        /// The directory of the group.
        group: String,
        /// What it lacks.
        file: String,
    },
    /// cgroup v2 has no limits for the kernel's own threads.
    #[error("the limits of {device} cannot be set: blkback sends its requests in the root group, which has no limits on cgroup v2. Use device-config:datapath=aio")]
    RootGroup {
        /// The device.
        device: String,
    },
    /// The kernel did not reply.
    #[error("the limits of {device} cannot be set: the kernel did not reply within {} s; see 'dmesg'", DEADLINE.as_secs())]
    Silent {
        /// The device.
        device: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl HasErrno for ThrottleError {
    fn errno(&self) -> Option<i32> {
        match self {
            Self::File(error) => error.errno(),
            Self::NoController { .. } | Self::RootGroup { .. } | Self::Silent { .. } => None,
        }
    }

    fn id(&self) -> Option<&'static str> {
        Some(self.id())
    }
}

impl ThrottleError {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NoController { .. } => "SMB-H015",
            Self::RootGroup { .. } => "SMB-H016",
            Self::Silent { .. } => "SMB-H017",
            Self::File(_) => FileError::ID,
        }
    }
}

/// Result of setting or reading limits.
pub(super) type Result<T> = std::result::Result<T, ThrottleError>;

pub(super) fn no_controller(device: &str, group: &Path, file: &str) -> ThrottleError {
    ThrottleError::NoController {
        device: device.to_owned(),
        group: group.display().to_string(),
        file: file.to_owned(),
    }
}
