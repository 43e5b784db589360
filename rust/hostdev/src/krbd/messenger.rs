//! The versions of the messenger protocol that the kernel's client supports.

use super::kernel_release;
use crate::Error;

/// The first release with the messenger protocol v2.
const FIRST_WITH_V2: (u32, u32) = (5, 11);

/// The map option `ms_mode`. A kernel client uses one version of the protocol for the whole cluster: v1 with
/// [`MsMode::Legacy`], v2 with all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsMode {
    /// The protocol v1.
    Legacy,
    /// v2, with checksums.
    Crc,
    /// v2, encrypted.
    Secure,
    /// v2, with checksums unless the cluster requires encryption.
    PreferCrc,
    /// v2, encrypted unless the cluster requires checksums.
    PreferSecure,
}

impl MsMode {
    /// All modes.
    pub const ALL: [Self; 5] = [
        Self::Legacy,
        Self::Crc,
        Self::Secure,
        Self::PreferCrc,
        Self::PreferSecure,
    ];

    /// Returns its name in the kernel.
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

    /// Returns the mode of that name; `None` if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Returns whether it is a mode of the protocol v2.
    #[must_use]
    pub const fn speaks_v2(self) -> bool {
        !matches!(self, Self::Legacy)
    }

    /// Returns the version of the protocol: 1 or 2.
    #[must_use]
    pub const fn version(self) -> u8 {
        if self.speaks_v2() {
            2
        } else {
            1
        }
    }
}

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
        kernel_release().map(|name| Self { name })
    }

    /// Returns whether it supports `ms_mode`, and the lists of addresses of the protocol v2. A release in an
    /// unknown form counts as an old one.
    #[must_use]
    pub fn speaks_v2(&self) -> bool {
        numbers(&self.name).is_some_and(|release| release >= FIRST_WITH_V2)
    }
}

/// Returns the major and minor number of a release.
pub(super) fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|text| text.parse().ok());
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn each_mode_is_parsed_from_its_name() {
        for mode in MsMode::ALL {
            assert_eq!(MsMode::parse(mode.name()), Some(mode));
            assert_eq!(mode.speaks_v2(), mode != MsMode::Legacy);
        }
        for name in ["", "v2", "Secure", "secure ", "prefer_crc"] {
            assert_eq!(MsMode::parse(name), None, "{name:?}");
        }
    }
}
