//! Maps an image.

use std::io;
use std::time::Duration;

use hostos::deadline::{by_deadline, Deadline};
use nix::errno::Errno;

use super::client::Krbd;
use super::kernel_log::KernelLog;
use super::mapping::Mapping;
use super::request::MapRequest;
use super::writer::write_command;
use super::{keyring, refusal};
use crate::{node, Error};

/// The time to remove a mapping of the wrong image, even if the deadline is earlier.
const UNDO: Duration = Duration::from_secs(10);

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
    /// Idempotent: returns an existing mapping of the same [`ImageKey`](super::ImageKey) and label. A writable one also serves
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
