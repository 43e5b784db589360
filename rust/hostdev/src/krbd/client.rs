//! The kernel's RBD client on this host, and what it supports.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::release::KernelRelease;
use crate::features::ImageFeatures;
use crate::module::{self, Module};
use crate::Error;

const MODULE: &str = "rbd";

/// The kernel's RBD client on this host.
#[derive(Clone, Debug)]
pub struct Krbd {
    pub(super) sysfs: PathBuf,
    pub(super) dev: PathBuf,
    /// The directory of labels and the lock, which a boot empties.
    pub(super) run: PathBuf,
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

    pub(super) fn bus(&self) -> PathBuf {
        self.sysfs.join("bus/rbd")
    }

    pub(super) fn is_loaded(&self) -> Result<bool, Error> {
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

    /// As [`Krbd::supported_features`], without stripes if the kernel refuses them although it reports them.
    ///
    /// # Errors
    /// As [`Krbd::supported_features`].
    pub fn mappable_features(&self) -> Result<Option<u64>, Error> {
        let striping = match KernelRelease::running()?.maps_stripes() {
            true => 0,
            false => ImageFeatures::STRIPING.bits(),
        };
        Ok(self.supported_features()?.map(|bits| bits & !striping))
    }

    /// Loads the kernel's module if it is not loaded.
    ///
    /// # Errors
    /// [`Error::ModuleMissing`] with the output of `modprobe`; [`Error::Timeout`].
    pub fn load_module(&self, deadline: Duration) -> Result<(), Error> {
        module::load(MODULE, &[], &self.bus(), deadline)
    }

    /// Returns what this host's kernel supports. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`]. A missing module is no error.
    pub fn check_kernel(&self) -> Result<KernelFacts, Error> {
        let release = KernelRelease::running()?.name;
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
}
