//! A failed call to this host, and another host's reply about a VDI.

use hostos::HasErrno;
use serde::Deserialize;

/// Result of a call to this host.
pub type Result<T> = std::result::Result<T, HostError>;

/// Why a call to this host's kernel, or to XAPI, failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// What failed, on which device or image, and what to do about it.
    pub message: String,
    /// Positive errno, if there is one.
    pub errno: Option<i32>,
    /// The id of the error in docs/user/errors.md, if it has one of its own.
    pub id: Option<&'static str>,
}

impl HostError {
    /// A process has the device open.
    pub fn is_busy(&self) -> bool {
        self.errno == Some(nix::libc::EBUSY)
    }

    /// It is unknown whether the call was applied, or will be.
    pub fn is_outcome_unknown(&self) -> bool {
        self.errno == Some(nix::libc::ETIMEDOUT)
    }
}

impl<E: HasErrno> From<E> for HostError {
    fn from(error: E) -> Self {
        HostError {
            errno: error.errno(),
            message: error.to_string(),
            id: error.id(),
        }
    }
}

/// What another host replies about a VDI.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HostReply {
    /// Its current boot.
    pub boot_id: String,
    /// Whether it uses the VDI. If not, it has also removed what a killed command left of it.
    pub in_use: bool,
    /// The datapath of a VDI that a VM uses there, as in the device-config. `None`: there is none yet, or the
    /// host has an older smblock, which does not report it.
    #[serde(default)]
    pub datapath: Option<String>,
    /// The size in bytes that the host's kernel has for the VDI's device.
    #[serde(default)]
    pub size: Option<u64>,
}

impl HostReply {
    /// Reads the reply of a host's plugin, which is JSON; empty if the host cannot be asked.
    ///
    /// # Errors
    /// It is not a reply.
    pub fn parse(host: &str, reply: &str) -> Result<Option<Self>> {
        if reply.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(reply).map(Some).map_err(|e| HostError {
            message: format!(
                "the plugin smblock of host {host} replied {reply:?}: {e}; install the same version of smblock on all hosts"
            ),
            errno: None,
            id: None,
        })
    }
}
