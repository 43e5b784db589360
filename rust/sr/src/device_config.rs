//! What the `device-config` of all SR types has in common: rules for values, and the datapath.

mod refused;
mod rules;

use std::collections::BTreeMap;

pub use self::refused::{equals, shown, Problem, Refused};
pub use self::rules::{boolean, characters, no_leading_dash, path};

/// The pairs of a device-config.
pub type Pairs = BTreeMap<String, String>;

/// The one key that xapi itself adds to every device-config: whether this host is the one that
/// runs the SR's commands.
pub const SR_MASTER: &str = "SRmaster";

/// How a disk's blocks get from the guest to its block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datapath {
    /// Through tapdisk: can be paused, so a snapshot of a running disk is quiesced.
    Aio,
    /// Through the kernel's blkback, without a process between.
    Phy,
}

impl Datapath {
    /// Reads the value of `device-config:datapath`.
    ///
    /// # Errors
    /// The value is neither.
    pub fn parse(value: &str) -> Result<Self, Problem> {
        match value {
            "aio" => Ok(Self::Aio),
            "phy" => Ok(Self::Phy),
            _ => Err(Problem::Meaning(
                "choose aio (through tapdisk, the default) or phy (through blkback)".to_owned(),
            )),
        }
    }

    /// As in `device-config:datapath=` and in SM's VDI type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aio => "aio",
            Self::Phy => "phy",
        }
    }

    /// Keys that the `sm_config` of every VDI must have. Without `backend-kind`, xapi has a disk of type
    /// `phy` served by tapdisk's backend, which never connects.
    #[must_use]
    pub const fn sm_config(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Aio => &[],
            Self::Phy => &[("backend-kind", "vbd")],
        }
    }

    /// Refuses a datapath that SM on this host does not have. `served`: those that it has.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn require(self, served: &[String]) -> Result<(), Refused> {
        if served.iter().any(|name| name == self.name()) {
            return Ok(());
        }
        Err(Refused {
            key: "datapath".to_owned(),
            value: Some(self.name().to_owned()),
            problem: Problem::Meaning(format!(
                "SM on this host connects disks by {} only, and such a disk would never reach \
                 its VM; give one of these, or leave the key out",
                served.join(", ")
            )),
        })
    }
}

/// Whether the name of an unknown key indicates a secret. `keyring`, in any spelling, is a path.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !key.contains("keyring")
        && ["key", "secret", "passw", "token", "credential"]
            .iter()
            .any(|word| key.contains(word))
}
