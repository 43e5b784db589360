//! Maps an image.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hostos::deadline::{by_deadline, Deadline};
use nix::errno::Errno;
use secrecy::SecretString;

use super::kernel_log::KernelLog;
use super::writer::write_command;
use super::{keyring, mapping, refusal, ImageKey, Krbd, Mapping, MsMode};
use crate::{node, Error};

/// The seconds until the kernel stops waiting for monitors that do not reply. Until then, it starts no other
/// map of this host. It is shorter than the usual deadline, so that the error has the kernel's reason. It is
/// the same for all maps, because maps with another value do not share a client.
const MOUNT_TIMEOUT: u32 = 25;

/// The time to remove a mapping of the wrong image, even if the deadline is earlier.
const UNDO: Duration = Duration::from_secs(10);

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

    fn writable(&self) -> bool {
        !self.read_only && self.image.snap_id.is_none()
    }

    /// Returns the name of the key in the keyring. The kernel's log has this name too.
    fn key_name(&self) -> String {
        format!("client.{}@{}", self.user, self.image.fsid)
    }

    /// Returns the command for the kernel: `monitors options pool image snapshot`.
    fn command(&self, noshare: bool) -> Result<String, Error> {
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
    fn validate(&self) -> Result<(), Error> {
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

/// The step that the kernel refused.
enum Refused {
    Key(io::Error),
    Map(io::Error),
}

/// How to fulfil a request, given the existing mappings of the image.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Use(Box<Mapping>),
    Replace(Vec<Mapping>),
    Make,
}

fn plan(existing: Vec<Mapping>, writable: bool) -> Plan {
    match existing
        .iter()
        .find(|mapping| !(writable && mapping.read_only))
    {
        Some(mapping) => Plan::Use(Box::new(mapping.clone())),
        None if existing.is_empty() => Plan::Make,
        None => Plan::Replace(existing),
    }
}

impl Krbd {
    /// Maps an image, or returns its existing mapping.
    ///
    /// Idempotent: returns an existing mapping of the same [`ImageKey`] and label. A writable one also serves
    /// a read-only request. If the request is writable, a read-only mapping is removed and created again.
    /// Loads the module if it is not loaded. When this returns, the device node exists, and the identity of
    /// the image was checked. Two processes of smblock that map one image at the same time get the same
    /// device.
    ///
    /// If the kernel's shared client is on the cluster's blocklist, maps the image with a new client.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: the kernel would misread a name or address; nothing was done.
    /// - [`Error::ModuleMissing`], [`Error::Keyring`], [`Error::Io`]: this host.
    /// - [`Error::Map`], [`Error::UnsupportedFeatures`]: the kernel or the cluster refused.
    /// - [`Error::OtherImage`]: another image has the name now; nothing stays mapped.
    /// - [`Error::Busy`]: mapped read-only, and in use.
    /// - [`Error::Timeout`]: the image may still get mapped, until this process ends.
    pub fn map(&self, request: &MapRequest) -> Result<Mapping, Error> {
        let end = Deadline::after(request.deadline);
        request.command(request.noshare)?;
        self.load_module(end.left())?;
        let label = request.label.as_deref();
        let planned = || {
            let existing = self.find_labelled(&request.image, label)?;
            Ok::<_, Error>(plan(existing, request.writable()))
        };
        if let Plan::Use(mapping) = planned()? {
            mapping.ensure_node(end)?;
            return Ok(*mapping);
        }
        // The kernel does one map of this host at a time, too.
        let _locked = self.lock(end, request.deadline)?;
        match planned()? {
            Plan::Use(mapping) => {
                mapping.ensure_node(end)?;
                return Ok(*mapping);
            }
            Plan::Replace(mappings) => {
                for mapping in &mappings {
                    self.remove(mapping, end, request.deadline)?;
                }
            }
            Plan::Make => {}
        }
        let before = self.mappings()?;
        match self.add(request, request.noshare, end) {
            Err(Error::Map { source, .. })
                if source.raw_os_error() == Some(Errno::ESHUTDOWN as i32) && !request.noshare =>
            {
                log::warn!(
                    "the kernel's client is blocklisted: mapping {} with a new client",
                    request.spec()
                );
                self.add(request, true, end)?;
            }
            added => added?,
        }
        let mut made = self.identify(request, &before, end)?;
        if let Some(label) = label {
            self.set_label(&made, label)?;
            made.label = Some(label.to_owned());
        }
        made.ensure_node(end)?;
        node::await_udev(&made.device, made.major, made.minor, end);
        log::info!("mapped {} at {}", made.spec(), made.device.display());
        Ok(made)
    }

    /// Gives the kernel the key and the command.
    fn add(&self, request: &MapRequest, noshare: bool, end: Deadline) -> Result<(), Error> {
        let command = request.command(noshare)?;
        let payload = keyring::decode(&request.user, &request.key)?;
        let file = self.command_file("add")?;
        let log = KernelLog::open_at_end(&self.dev.join("kmsg"));
        let key_name = request.key_name();
        let outcome = by_deadline(end, {
            let file = file.clone();
            move || {
                keyring::add_for_this_thread(&key_name, &payload).map_err(Refused::Key)?;
                write_command(&file, &command).map_err(Refused::Map)
            }
        })
        .map_err(|error| Error::io("write to", &file, error))?;
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(Refused::Map(source))) => {
                Err(refusal::explain(request, source, &log.new_messages()))
            }
            Some(Err(Refused::Key(source))) => {
                Err(keyring::refused(&request.user, &request.key, source))
            }
            None => Err(Error::Timeout {
                action: "map",
                object: request.spec(),
                waited: request.deadline,
                advice: format!(
                    "check that this host reaches the monitors {} and that the cluster is healthy \
                     (`ceph -s`)",
                    request.monitors.join(", ")
                ),
            }),
        }
    }

    /// Finds the new mapping, and removes it if another image has the name.
    fn identify(
        &self,
        request: &MapRequest,
        before: &[Mapping],
        end: Deadline,
    ) -> Result<Mapping, Error> {
        let fresh = by_that_name(self.mappings()?, before, request);
        if let Some(right) = fresh.iter().find(|made| made.key == request.image) {
            return Ok(right.clone());
        }
        let Some(wrong) = fresh.first() else {
            return Err(Error::NoDevice {
                image: request.spec(),
                missing: format!("no device of that name is in {}", self.bus().display()),
            });
        };
        let undo = end.left().max(UNDO);
        self.remove(wrong, Deadline::after(undo), undo)?;
        Err(Error::OtherImage {
            image: request.spec(),
            asked: Box::new(request.image.clone()),
            found: Box::new(wrong.key.clone()),
        })
    }
}

impl Mapping {
    fn ensure_node(&self, end: Deadline) -> Result<(), Error> {
        node::ensure(&self.device, self.major, self.minor, end)
    }
}

/// Returns the mappings that are not in `before` and that have the names of the request.
fn by_that_name(now: Vec<Mapping>, before: &[Mapping], request: &MapRequest) -> Vec<Mapping> {
    now.into_iter()
        .filter(|mapping| {
            !before
                .iter()
                .any(|old| old.device_number == mapping.device_number && old.key == mapping.key)
                && mapping.spec() == request.spec()
        })
        .collect()
}

#[cfg(test)]
mod tests;
