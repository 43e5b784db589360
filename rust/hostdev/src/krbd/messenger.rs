//! The versions of the messenger protocol that the kernel's client supports.

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

#[cfg(test)]
mod tests {
    use super::*;

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
