//! The release of the running kernel, and what follows from it.

use std::fs;
use std::path::Path;

use crate::Error;

/// The first release with the messenger protocol v2.
const FIRST_WITH_V2: (u32, u32) = (5, 11);

/// The first release that maps images in a RADOS namespace.
const FIRST_WITH_NAMESPACES: (u32, u32) = (4, 19);

/// The first release that maps images with stripes. Older ones report the feature, and refuse the images.
const FIRST_WITH_STRIPES: (u32, u32) = (4, 17);

/// The release of a kernel, which decides its protocol versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRelease {
    /// The release, as `uname -r` prints it.
    pub name: String,
}

impl KernelRelease {
    /// Returns the release of the running kernel.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn running() -> Result<Self, Error> {
        let path = Path::new("/proc/sys/kernel/osrelease");
        let text = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        let name = text.trim().to_owned();
        Ok(Self { name })
    }

    /// Returns whether it supports `ms_mode`, and the lists of addresses of the protocol v2. A release in an
    /// unknown form counts as an old one.
    #[must_use]
    pub fn speaks_v2(&self) -> bool {
        self.is_since(FIRST_WITH_V2)
    }

    /// Returns whether it maps images in a RADOS namespace. A release in an unknown form counts as an old one.
    #[must_use]
    pub fn maps_namespaces(&self) -> bool {
        self.is_since(FIRST_WITH_NAMESPACES)
    }

    /// Returns whether it maps images with stripes. A release in an unknown form counts as an old one.
    #[must_use]
    pub fn maps_stripes(&self) -> bool {
        self.is_since(FIRST_WITH_STRIPES)
    }

    fn is_since(&self, first: (u32, u32)) -> bool {
        numbers(&self.name).is_some_and(|release| release >= first)
    }
}

/// Returns whether the running kernel also watches an image that it maps read-only, or whose snapshot it
/// maps. Linux before 5.5 does (commit "rbd: don't establish watch for read-only mappings"). A release in an
/// unknown form counts as an old one.
///
/// # Errors
/// [`Error::Io`] if the kernel's release cannot be read.
pub fn kernel_watches_readers() -> Result<bool, Error> {
    Ok(watches_readers(&KernelRelease::running()?.name))
}

fn watches_readers(release: &str) -> bool {
    numbers(release).is_none_or(|release| release < (5, 5))
}

/// Returns the major and minor number of a release.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|text| text.parse().ok());
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn linux_4_19_maps_namespaces_and_4_17_stripes() {
        for (name, namespaces, stripes) in [
            ("4.19.0+1", true, true),
            ("4.18.20", false, true),
            ("4.17.0-rc1", false, true),
            ("4.16.18", false, false),
            ("odd", false, false),
        ] {
            let name = name.to_owned();
            let kernel = KernelRelease { name };
            assert_eq!(kernel.maps_namespaces(), namespaces, "{kernel:?}");
            assert_eq!(kernel.maps_stripes(), stripes, "{kernel:?}");
        }
    }

    #[test]
    fn linux_5_11_and_later_support_protocol_v2() {
        let speaks = |name: &str| {
            let name = name.to_owned();
            KernelRelease { name }.speaks_v2()
        };
        for release in ["5.11.0-rc1", "5.15.0-91-generic", "6.1.0-56-amd64", "10.0"] {
            assert!(speaks(release), "{release}");
        }
        for release in ["4.19.0+1", "5.10.0-46-amd64", "3.10.0-1160.el7", "odd", ""] {
            assert!(!speaks(release), "{release}");
        }
    }
}
