//! How the kernel's client talks to a cluster.

use super::kernel_release;
use crate::Error;

/// The release that can speak the messenger protocol v2.
const FIRST_WITH_V2: (u32, u32) = (5, 11);

/// The map option `ms_mode`. A kernel client speaks one version of the protocol to the whole
/// cluster: v1 with [`MsMode::Legacy`], v2 with all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsMode {
    /// The protocol v1.
    Legacy,
    /// v2, with checksums.
    Crc,
    /// v2, encrypted.
    Secure,
    /// v2, with checksums unless the cluster demands encryption.
    PreferCrc,
    /// v2, encrypted unless the cluster demands checksums.
    PreferSecure,
}

impl MsMode {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Legacy,
        Self::Crc,
        Self::Secure,
        Self::PreferCrc,
        Self::PreferSecure,
    ];

    /// Its name in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Crc => "crc",
            Self::Secure => "secure",
            Self::PreferCrc => "prefer-crc",
            Self::PreferSecure => "prefer-secure",
        }
    }

    /// The mode of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Whether the kernel speaks the protocol v2.
    #[must_use]
    pub const fn speaks_v2(self) -> bool {
        !matches!(self, Self::Legacy)
    }

    /// The version of the protocol that the kernel speaks: 1 or 2.
    #[must_use]
    pub const fn version(self) -> u8 {
        if self.speaks_v2() {
            2
        } else {
            1
        }
    }
}

/// A kernel, as far as its way to talk to a cluster depends on its release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRelease {
    /// As `uname -r` prints it.
    pub name: String,
}

impl KernelRelease {
    /// The running kernel's.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel does not show it.
    pub fn running() -> Result<Self, Error> {
        kernel_release().map(|name| Self { name })
    }

    /// Whether it knows `ms_mode`, and decodes the lists of addresses that came with the protocol
    /// v2. A release that cannot be read is taken for an old one.
    #[must_use]
    pub fn speaks_v2(&self) -> bool {
        numbers(&self.name).is_some_and(|release| release >= FIRST_WITH_V2)
    }
}

/// Major and minor number of a release.
pub(super) fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|text| text.parse().ok());
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_v2_comes_with_linux_5_11() {
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

    #[test]
    fn each_mode_has_the_kernels_own_name() {
        for mode in MsMode::ALL {
            assert_eq!(MsMode::parse(mode.name()), Some(mode));
            assert_eq!(mode.speaks_v2(), mode != MsMode::Legacy);
        }
        for name in ["", "v2", "Secure", "secure ", "prefer_crc"] {
            assert_eq!(MsMode::parse(name), None, "{name:?}");
        }
    }
}
