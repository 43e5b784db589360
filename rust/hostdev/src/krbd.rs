//! RBD images mapped by the kernel's own client, through sysfs.
//!
//! **Identity.** A mapping always shows the *name* that the image had when it was mapped, also if the image
//! was renamed or removed. So only [`ImageKey`] identifies a mapping: cluster, pool, namespace, image id and
//! snapshot id. A name is used only to map, and the identity of the result is checked.
//!
//! **Deadlines.** A write to sysfs may block in the kernel until the cluster replies. A thread of its own
//! makes it. When the deadline passes, the caller gets [`Error::Timeout`](crate::Error::Timeout), and the
//! thread stays in the kernel. That wait is killable: it ends with the process at the latest. If the write
//! succeeds before, the next [`Krbd::find`] sees the result.
//!
//! **Secrets.** The kernel reads the cephx key from the keyring of the thread that maps. No other process
//! can see it, no file of sysfs has it, and it is gone when the thread ends. The kernel's client has a copy.
//!
//! **One client per host.** All maps with equal options share one kernel client. So the options depend on
//! user, cluster and `ms_mode` only, not on the image. If they change (another `ms_mode`, a monitor that
//! gets a v2 address), new maps get a second client with an address of its own. A mapping shows the address
//! of its client, and a claim records that address.

mod kernel_log;
mod keyring;
mod labels;
mod map;
mod mapping;
mod messenger;
mod refusal;
#[cfg(test)]
mod sim;
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
    /// The directory of labels and the lock, which a boot empties.
    run: PathBuf,
}

/// What the kernel supports. See [`Krbd::check_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// Whether the kernel has the module `rbd`.
    pub module: Module,
    /// The image features that it can map; `None` if the module is not loaded, or older than Linux 4.11.
    pub supported_features: Option<u64>,
}

impl Default for Krbd {
    fn default() -> Self {
        Self::new()
    }
}

impl Krbd {
    /// Returns the client of the running kernel, at `/sys` and `/dev`.
    pub fn new() -> Self {
        Self::with_roots("/sys".into(), "/dev".into(), "/run/smblock/krbd".into())
    }

    /// As [`Krbd::new`], with other paths of sysfs, the device nodes and the records.
    pub fn with_roots(sysfs: PathBuf, dev: PathBuf, run: PathBuf) -> Self {
        Self { sysfs, dev, run }
    }

    fn bus(&self) -> PathBuf {
        self.sysfs.join("bus/rbd")
    }

    fn is_loaded(&self) -> Result<bool, Error> {
        module::is_loaded(&self.bus())
    }

    /// Returns the bits of the image features that this kernel can map: see
    /// [`ImageFeatures`](crate::features::ImageFeatures). `None` if the module is not loaded, or is older
    /// than Linux 4.11, which does not show them. [`Krbd::check_kernel`] distinguishes the two.
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

    /// Loads the kernel's module if it is not loaded.
    ///
    /// # Errors
    /// [`Error::ModuleMissing`] with the output of `modprobe`; [`Error::Timeout`].
    pub fn load_module(&self, deadline: Duration) -> Result<(), Error> {
        module::load(MODULE, &[], &self.bus(), deadline)
    }

    /// Returns the mappings of an image that have that label.
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

    /// Returns what this host's kernel supports. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`]. A missing module is no error.
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

    /// Returns all RBD mappings of this host, by device number. None if the module is not loaded. Omits a
    /// mapping that appears or disappears during the call.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`]: an incomplete list is never returned.
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

    /// Returns the mappings of one image or snapshot, by device number: one for each label, and those that
    /// another program made.
    ///
    /// # Errors
    /// As [`Krbd::mappings`].
    pub fn find(&self, key: &ImageKey) -> Result<Vec<Mapping>, Error> {
        let mut found = self.mappings()?;
        found.retain(|mapping| mapping.key == *key);
        Ok(found)
    }
}

/// Returns the kernel's release, as `uname -r` prints it.
fn kernel_release() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/osrelease");
    let text = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    Ok(text.trim().to_owned())
}

/// Returns whether the running kernel also watches an image that it maps read-only, or whose snapshot it
/// maps. Linux before 5.5 does (commit "rbd: don't establish watch for read-only mappings"). A release in an
/// unknown form counts as an old one.
///
/// # Errors
/// [`Error::Io`] if the kernel's release cannot be read.
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
    fn kernels_before_5_5_watch_read_only_images() {
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
