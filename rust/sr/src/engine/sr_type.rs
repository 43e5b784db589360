//! What an SR type has without an SR: its name, its capabilities, and the keys of its device-config.

use crate::device_config::Pairs;

use super::capability::Capability;
use super::error::{Error, Result};

/// A key that an administrator may give in the device-config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigKey {
    /// The key.
    pub name: &'static str,
    /// Other spellings of the key.
    pub aliases: &'static [&'static str],
    /// What the value is.
    pub description: &'static str,
    /// The value of a key that was not given, if there is one.
    pub default: Option<&'static str>,
}

impl ConfigKey {
    /// The limit of requests that each SR type has.
    pub const IOPS: Self = Self::new(
        "iops",
        "requests a second of each disk, for reads and for writes (default: no limit)",
    );
    /// The limit of megabytes that each SR type has.
    pub const MBPS: Self = Self::new(
        "mbps",
        "megabytes a second of each disk, for reads and for writes (default: no limit)",
    );

    /// A key without a default.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        ConfigKey {
            name,
            aliases: &[],
            description,
            default: None,
        }
    }

    /// The same key with other spellings.
    #[must_use]
    pub const fn or(self, aliases: &'static [&'static str]) -> Self {
        ConfigKey { aliases, ..self }
    }

    /// The same key with a default.
    #[must_use]
    pub const fn default(self, value: &'static str) -> Self {
        ConfigKey {
            default: Some(value),
            ..self
        }
    }

    /// Returns the description with the default.
    #[must_use]
    pub fn text(&self) -> String {
        match self.default {
            Some(value) => format!("{} (default: {value})", self.description),
            None => self.description.to_owned(),
        }
    }
}

/// An SR type.
#[derive(Debug)]
pub struct SrType {
    /// XAPI's name of the type.
    pub name: &'static str,
    /// What it supports.
    pub capabilities: &'static [Capability],
    /// The keys of its device-config.
    pub configuration: &'static [ConfigKey],
    /// Keys that no other type has. Each device-config of an SR of this type has one of them.
    pub marks: &'static [&'static str],
    /// What an administrator can do instead of something that the type does not support.
    pub instead: &'static [(Capability, &'static str)],
}

impl SrType {
    /// Whether it has a capability.
    #[must_use]
    pub fn supports(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The error of an operation that the type does not have.
    #[must_use]
    pub fn lacks(&self, capability: Capability) -> Error {
        let instead = self.instead.iter().find(|(of, _)| *of == capability);
        Error::Unsupported {
            sr_type: self.name,
            capability,
            instead: instead.map(|(_, instead)| *instead),
        }
    }

    /// Refuses what the type does not support.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn require(&self, capability: Capability) -> Result<()> {
        match self.supports(capability) {
            true => Ok(()),
            false => Err(self.lacks(capability)),
        }
    }

    /// Bytes that a new VDI of a virtual size takes at first.
    #[must_use]
    pub fn utilisation(&self, size: u64) -> u64 {
        match self.supports(Capability::ThinProvisioning) {
            true => 0,
            false => size,
        }
    }

    /// Whether a device-config is meant for this type, by its keys. For a device-config without an SR: the
    /// type of an SR is in XAPI.
    #[must_use]
    pub fn is_meant_by(&self, device_config: &Pairs) -> bool {
        self.marks
            .iter()
            .any(|mark| device_config.contains_key(*mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLAIN: SrType = SrType {
        name: "plain",
        capabilities: &[Capability::VdiCreate],
        configuration: &[],
        marks: &["shelf"],
        instead: &[(Capability::VdiClone, "copy the VDI")],
    };

    #[test]
    fn an_error_names_the_capability_that_is_lacking_and_what_to_do() {
        let text = |capability| PLAIN.require(capability).map_err(|e| e.to_string());
        assert_eq!(text(Capability::VdiCreate), Ok(()));
        assert_eq!(
            text(Capability::VdiSnapshot),
            Err(
                "an SR of type plain cannot take snapshots: it lacks the capability VDI_SNAPSHOT"
                    .to_owned()
            )
        );
        assert_eq!(
            text(Capability::VdiClone),
            Err("an SR of type plain cannot clone VDIs: it lacks the capability VDI_CLONE; copy the VDI".to_owned())
        );
    }

    #[test]
    fn a_disk_that_is_not_thin_takes_its_whole_size() {
        assert_eq!(PLAIN.utilisation(7), 7);
    }

    #[test]
    fn a_device_config_is_recognised_by_a_key_of_the_type() {
        let pairs = |key: &str| Pairs::from([(key.to_owned(), "x".to_owned())]);
        assert!(PLAIN.is_meant_by(&pairs("shelf")));
        assert!(!PLAIN.is_meant_by(&pairs("pool")));
    }
}
