//! RBD images mapped by the kernel's own client, through sysfs.
//!
//! **Identity.** A mapping keeps the *name* it was made with for as long as it lives, whatever
//! happens to the image; so mappings are told apart by [`ImageKey`] alone: cluster, pool, namespace,
//! image id and snapshot id. A name is used once, when mapping, and what it led to is checked.
//!
//! **Deadlines.** A write to sysfs may block inside the kernel for as long as the cluster is silent.
//! It is made on a thread of its own; when the deadline passes, the caller gets
//! [`Error::Timeout`](crate::Error::Timeout) and the thread stays behind in the kernel. That wait is
//! killable: it ends with the process at the latest. If it completes before, the mapping (or its
//! end) simply becomes true: the next [`Krbd::find`] sees it.
//!
//! **Secrets.** The cephx key reaches the kernel through its keyring, in the keyring of the one
//! thread that maps: no other process can see it, it is in no file of sysfs, and it is gone when the
//! thread ends (the kernel's client has its own copy by then).
//!
//! **One client per host.** All maps with equal options share one kernel client, so the options
//! depend on user, cluster and `ms_mode` only, never on what is mapped. If they change (another
//! `ms_mode`, a monitor that gets a v2 address), new maps get a second client, with an address of
//! its own. A mapping shows the address of its own client, and that one is what a claim records.

mod kernel_log;
mod keyring;
mod labels;
mod map;
mod mapping;
mod messenger;
mod refusal;
#[cfg(test)]
mod standin;
mod unmap;
mod writer;
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    pub(crate) use super::kernel_log::relevant;
    pub(crate) use super::keyring::decode;
}

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use map::MapRequest;
pub use mapping::{ImageKey, Mapping};
pub use messenger::{KernelRelease, MsMode};

use crate::module::{self, Module};
use crate::Error;

const MODULE: &str = "rbd";

/// The kernel's RBD client on this host.
#[derive(Clone, Debug)]
pub struct Krbd {
    sysfs: PathBuf,
    dev: PathBuf,
    /// What this host keeps about its devices until it boots again.
    run: PathBuf,
}

/// What an administrator's check wants to know of the kernel. See [`Krbd::check_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// Whether the kernel has the module `rbd`.
    pub module: Module,
    /// The image features it can map; `None` if the module is not loaded or too old to tell.
    pub supported_features: Option<u64>,
}

impl Default for Krbd {
    fn default() -> Self {
        Self::new()
    }
}

impl Krbd {
    /// The running kernel, at `/sys` and `/dev`.
    pub fn new() -> Self {
        Self::with_roots("/sys".into(), "/dev".into(), "/run/smblock/krbd".into())
    }

    /// The same with sysfs, the device nodes and the records of this host elsewhere.
    pub fn with_roots(sysfs: PathBuf, dev: PathBuf, run: PathBuf) -> Self {
        Self { sysfs, dev, run }
    }

    fn bus(&self) -> PathBuf {
        self.sysfs.join("bus/rbd")
    }

    fn is_loaded(&self) -> Result<bool, Error> {
        module::is_loaded(&self.bus())
    }

    /// The image features that this kernel can map, as a mask for [`features`](crate::features).
    /// `None` if it does not tell: its module is not loaded yet, or is older than Linux 4.11.
    /// [`Krbd::check_kernel`] says which; after [`Krbd::load_module`] only the latter is left.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`].
    pub fn supported_features(&self) -> Result<Option<u64>, Error> {
        let path = self.bus().join("supported_features");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let digits = text.trim().trim_start_matches("0x");
        u64::from_str_radix(digits, 16)
            .map(Some)
            .map_err(|_| Error::Unreadable {
                path,
                text,
                expected: "a mask of features in hex",
            })
    }

    /// Loads the kernel's module unless it is there.
    ///
    /// # Errors
    /// [`Error::ModuleMissing`] with what `modprobe` said; [`Error::Timeout`].
    pub fn load_module(&self, deadline: Duration) -> Result<(), Error> {
        module::load(MODULE, &[], &self.bus(), deadline)
    }

    /// Whether a device is mapped with that label.
    ///
    /// # Errors
    /// As [`Krbd::mappings`].
    pub fn find_labelled(
        &self,
        key: &ImageKey,
        label: Option<&str>,
    ) -> Result<Vec<Mapping>, Error> {
        let mut found = self.find(key)?;
        found.retain(|mapping| mapping.label.as_deref() == label);
        Ok(found)
    }

    /// What this host's kernel can do, without changing anything.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`] if the kernel does not tell. A missing module is an
    /// answer, not an error.
    pub fn check_kernel(&self) -> Result<KernelFacts, Error> {
        let release = kernel_release()?;
        let loaded = self.is_loaded()?;
        Ok(KernelFacts {
            module: if loaded {
                Module::Loaded
            } else {
                module::installed(MODULE, &release)
            },
            supported_features: self.supported_features()?,
            release,
        })
    }

    /// All RBD mappings of this host, by device number. None where the module is not loaded.
    /// A mapping that comes or goes while this reads is left out.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`]: never a shorter list instead.
    pub fn mappings(&self) -> Result<Vec<Mapping>, Error> {
        if !self.is_loaded()? {
            return Ok(Vec::new());
        }
        let devices = self.bus().join("devices");
        let failed = |error| Error::io("list", &devices, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&devices).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|text| text.parse().ok());
            let number = number.ok_or_else(|| Error::Unreadable {
                path: devices.clone(),
                text: name.to_string_lossy().into_owned(),
                expected: "a device number",
            })?;
            found.extend(self.mapping(number)?);
        }
        found.sort_by_key(|mapping| mapping.device_number);
        Ok(found)
    }

    /// The mappings of one image (or snapshot), by device number: one for each label, and others only
    /// if something else than [`Krbd::map`] made them.
    ///
    /// # Errors
    /// As [`Krbd::mappings`].
    pub fn find(&self, key: &ImageKey) -> Result<Vec<Mapping>, Error> {
        let mut found = self.mappings()?;
        found.retain(|mapping| mapping.key == *key);
        Ok(found)
    }
}

/// The kernel's release, as `uname -r` prints it.
fn kernel_release() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/osrelease");
    let text = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    Ok(text.trim().to_owned())
}

/// Whether the running kernel watches an image also if it maps it, or a snapshot of it, read-only.
/// Linux does before 5.5 (commit "rbd: don't establish watch for read-only mappings"); a kernel
/// whose release cannot be read is taken for an old one.
///
/// # Errors
/// [`Error::Io`] if the kernel does not tell its release.
pub fn kernel_watches_readers() -> Result<bool, Error> {
    Ok(watches_readers(&kernel_release()?))
}

fn watches_readers(release: &str) -> bool {
    messenger::numbers(release).is_none_or(|release| release < (5, 5))
}

#[cfg(test)]
mod tests {
    use super::watches_readers;

    #[test]
    fn kernels_before_5_5_watch_what_they_read() {
        for release in ["4.19.0+1", "5.4.0-200-generic", "3.10.0-1160.el7", "odd"] {
            assert!(watches_readers(release), "{release}");
        }
        for release in [
            "5.5.0-rc1",
            "5.10.0-32-amd64",
            "6.1.0",
            "6.6.98+2",
            "10.0.1",
        ] {
            assert!(!watches_readers(release), "{release}");
        }
    }
}
