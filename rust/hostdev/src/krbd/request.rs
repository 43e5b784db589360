//! An image to map, and the command for the kernel that maps it.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::mapping::{self, ImageKey};
use super::messenger::MsMode;
use crate::Error;

/// The seconds until the kernel stops waiting for monitors that do not reply. Until then, it starts no other
/// map of this host. It is shorter than the usual deadline, so that the error has the kernel's reason. It is
/// the same for all maps, because maps with another value do not share a client.
const MOUNT_TIMEOUT: u32 = 25;

/// The most addresses of monitors that the kernel accepts (`CEPH_MAX_MON`): it refuses a longer list. It
/// gets the others from the first monitor that it reaches.
const MAX_MONITORS: usize = 31;

/// The most bytes of one write to sysfs.
const PAGE: usize = 4096;

/// An image to map, and the user that maps it.
#[derive(Clone, Debug)]
pub struct MapRequest {
    /// Addresses of monitors, `ip:port` (IPv6: `[ip]:port`), for the protocol version of `ms_mode`. No kernel
    /// resolves names.
    pub monitors: Vec<String>,
    /// The protocol version and mode. Kernels before 5.11 support [`MsMode::Legacy`] only.
    pub ms_mode: MsMode,
    /// The cephx user, without `client.`.
    pub user: String,
    /// The user's key in base64. Never shown, never written to sysfs.
    pub key: SecretString,
    /// The identity of the image.
    pub image: ImageKey,
    /// The pool's current name.
    pub pool_name: String,
    /// The image's current name.
    pub image_name: String,
    /// The snapshot's current name; `None` if `image.snap_id` is.
    pub snap_name: Option<String>,
    /// Refuse writes. A snapshot is always read-only.
    pub read_only: bool,
    /// Create a new kernel client for this map, instead of this host's shared client: needed if that one
    /// is blocklisted. Does not change an existing mapping: unmap a dead one first.
    pub noshare: bool,
    /// The label of the mapping. Each label of an image has its own device, and so has no label.
    pub label: Option<String>,
    /// The time for all steps together.
    pub deadline: Duration,
}

impl MapRequest {
    /// Returns the name of the image or snapshot: `pool/namespace/image@snapshot`.
    pub fn spec(&self) -> String {
        mapping::spec(
            &self.pool_name,
            &self.image.namespace,
            &self.image_name,
            self.snap_name.as_deref(),
        )
    }

    /// Returns the name of the image, without the snapshot.
    pub(super) fn image_spec(&self) -> String {
        mapping::spec(
            &self.pool_name,
            &self.image.namespace,
            &self.image_name,
            None,
        )
    }

    pub(super) fn writable(&self) -> bool {
        !self.read_only && self.image.snap_id.is_none()
    }

    /// Returns the name of the key in the keyring. The kernel's log has this name too.
    pub(super) fn key_name(&self) -> String {
        format!("client.{}@{}", self.user, self.image.fsid)
    }

    /// Returns the command for the kernel: `monitors options pool image snapshot`.
    pub(super) fn command(&self, noshare: bool) -> Result<String, Error> {
        self.validate()?;
        let mut options = format!(
            "name={},key={},mount_timeout={MOUNT_TIMEOUT}",
            self.user,
            self.key_name()
        );
        // No option for protocol v1: older kernels do not support it, and on newer ones such a map shares
        // the client of maps without the option.
        if self.ms_mode.speaks_v2() {
            options.push_str(",ms_mode=");
            options.push_str(self.ms_mode.name());
        }
        if !self.writable() {
            options.push_str(",ro");
        }
        if noshare {
            options.push_str(",noshare");
        }
        if !self.image.namespace.is_empty() {
            options.push_str(",_pool_ns=");
            options.push_str(&self.image.namespace);
        }
        let command = format!(
            "{} {options} {} {} {}",
            self.monitors[..self.monitors.len().min(MAX_MONITORS)].join(","),
            self.pool_name,
            self.image_name,
            self.snap_name.as_deref().unwrap_or("-")
        );
        if command.len() >= PAGE {
            return Err(Error::Invalid {
                what: "the list of monitors and names for",
                value: self.spec(),
                expected: format!("less than {PAGE} bytes together"),
            });
        }
        Ok(command)
    }

    /// Refuses values that the kernel would misread. It splits the command at white space and the options at
    /// commas, and has no quotes.
    pub(super) fn validate(&self) -> Result<(), Error> {
        for monitor in &self.monitors {
            if monitor.parse::<SocketAddr>().is_err() {
                return Err(Error::Invalid {
                    what: "monitor address",
                    value: monitor.clone(),
                    expected: "ip:port, without a prefix v1: or v2: and without a nonce".to_owned(),
                });
            }
        }
        if self.monitors.is_empty() {
            return Err(Error::Invalid {
                what: "list of monitors",
                value: String::new(),
                expected: "at least one ip:port".to_owned(),
            });
        }
        let words = [
            ("pool name", self.pool_name.as_str(), ""),
            ("image name", &self.image_name, ""),
            (
                "snapshot name",
                self.snap_name.as_deref().unwrap_or("-"),
                "",
            ),
            ("cephx user", &self.user, ",="),
            ("cluster fsid", &self.image.fsid, ",="),
        ];
        for (what, word, special) in words {
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || special.contains(c))
            {
                return Err(Error::Invalid {
                    what,
                    value: word.to_owned(),
                    expected: format!("one word without any of {special:?}"),
                });
            }
        }
        let namespace = &self.image.namespace;
        if namespace.contains(|c: char| c.is_whitespace() || c == ',') {
            return Err(Error::Invalid {
                what: "namespace",
                value: namespace.clone(),
                expected: "no white space and no comma".to_owned(),
            });
        }
        if self.snap_name.is_some() != self.image.snap_id.is_some() {
            return Err(Error::Invalid {
                what: "snapshot of",
                value: self.spec(),
                expected: "a snapshot's name and id together, or neither".to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
