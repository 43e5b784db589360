//! Mapping an image.

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

/// After how many seconds the kernel itself gives up on monitors that do not answer: all that time
/// it lets no other map of this host go on. Less than the usual deadline, so that the kernel's own
/// reason is heard; and the same for all maps, for it is part of what makes them share one client.
const MOUNT_TIMEOUT: u32 = 25;

/// How long a mapping of the wrong image is tried to be taken away, the deadline notwithstanding.
const UNDO: Duration = Duration::from_secs(10);

/// The most addresses of monitors that the kernel takes (`CEPH_MAX_MON`): with one more, it refuses
/// the whole list. It learns the others from the first monitor that it reaches.
const MAX_MONITORS: usize = 31;

/// The most that one write to sysfs carries.
const PAGE: usize = 4096;

/// An image to map, and as whom.
#[derive(Clone, Debug)]
pub struct MapRequest {
    /// Addresses of monitors, `ip:port` (IPv6: `[ip]:port`), where they speak the protocol that
    /// `ms_mode` means. No kernel resolves names.
    pub monitors: Vec<String>,
    /// How the kernel talks to the cluster. Kernels before 5.11 know [`MsMode::Legacy`] alone.
    pub ms_mode: MsMode,
    /// The cephx user, without `client.`.
    pub user: String,
    /// The user's key in base64. Never shown, never written to sysfs.
    pub key: SecretString,
    /// What the mapping must serve.
    pub image: ImageKey,
    /// The pool's name now.
    pub pool_name: String,
    /// The image's name now.
    pub image_name: String,
    /// The snapshot's name now; given exactly if `image.snap_id` is.
    pub snap_name: Option<String>,
    /// Refuse writes. A snapshot is read-only in any case.
    pub read_only: bool,
    /// Make a new kernel client for this map, where it would share this host's: needed after that
    /// one was blocklisted. Does not touch a mapping that exists: unmap a dead one first.
    pub noshare: bool,
    /// Gives the mapping a label, and finds it by that: another mapping of the same image, with
    /// another label or none, is another device.
    pub label: Option<String>,
    /// How long to try, all steps together.
    pub deadline: Duration,
}

impl MapRequest {
    /// What is asked for, by name: `pool/namespace/image@snapshot`.
    pub fn spec(&self) -> String {
        mapping::spec(
            &self.pool_name,
            &self.image.namespace,
            &self.image_name,
            self.snap_name.as_deref(),
        )
    }

    /// The image by name, without the snapshot.
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

    /// What the key is called while the kernel fetches it: also what the kernel's log says of it.
    fn key_name(&self) -> String {
        format!("client.{}@{}", self.user, self.image.fsid)
    }

    /// The command for the kernel: `monitors options pool image snapshot`.
    fn command(&self, noshare: bool) -> Result<String, Error> {
        self.validate()?;
        let mut options = format!(
            "name={},key={},mount_timeout={MOUNT_TIMEOUT}",
            self.user,
            self.key_name()
        );
        // Left out for the protocol v1: older kernels do not know the option, and on newer ones a
        // map goes on sharing the client of those that were made without it.
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
                expected: format!("less than {PAGE} bytes in all"),
            });
        }
        Ok(command)
    }

    /// Refuses what would mean something else to the kernel: it splits its command at white space
    /// and the options at commas, and knows no quotes.
    fn validate(&self) -> Result<(), Error> {
        for monitor in &self.monitors {
            if monitor.parse::<SocketAddr>().is_err() {
                return Err(Error::Invalid {
                    what: "monitor address",
                    value: monitor.clone(),
                    expected: "ip:port, without v1: or v2: before or a nonce behind".to_owned(),
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

/// Which of the two steps in the kernel failed.
enum Refused {
    Key(io::Error),
    Map(io::Error),
}

/// What to do about a request, given the mappings of that very image.
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
    /// Maps an image, or finds it mapped.
    ///
    /// Idempotent: a mapping of the same [`ImageKey`] that allows what is asked is given back as it
    /// is (one that takes writes serves a reader too). A read-only one is taken away and made anew
    /// when writing is asked for. The module is loaded if it is not. When this returns, the device
    /// node is there, and what it serves has been checked to be the image asked for. Two processes
    /// of smblock that map one image at the same moment get the same device.
    ///
    /// If the kernel's shared client is on the cluster's blocklist, the image is mapped with a client
    /// of its own.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: a name or address the kernel would misread; nothing was done.
    /// - [`Error::ModuleMissing`], [`Error::Keyring`], [`Error::Io`]: this host.
    /// - [`Error::Map`], [`Error::UnsupportedFeatures`]: the kernel or the cluster refused.
    /// - [`Error::OtherImage`]: the name is another image's now; nothing stays mapped.
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
        // The kernel makes one map of this host at a time anyway.
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
                log::warn!("the kernel's client is blocklisted; mapping with a new client");
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

    /// Gives the kernel the command, and with it the key.
    fn add(&self, request: &MapRequest, noshare: bool, end: Deadline) -> Result<(), Error> {
        let command = request.command(noshare)?;
        let payload = keyring::decode(&request.user, &request.key)?;
        let file = self.command_file("add")?;
        let log = KernelLog::from_now(&self.dev.join("kmsg"));
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
                Err(refusal::explain(request, source, &log.since_then()))
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

    /// Finds the mapping that was just made, and takes it away again if the name led elsewhere.
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

/// The mappings that came since `before` and bear the names of the request.
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
#[path = "map_tests.rs"]
mod tests;
