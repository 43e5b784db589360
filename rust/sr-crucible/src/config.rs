//! The `device-config` of an SR of type crucible, parsed and checked once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sr::device_config::{is_secret, path, shown, Datapath, Refused, SR_MASTER};
use sr::limits::{self, DiskLimits};

/// The keys that an administrator may give, besides the provisioner's own.
pub const VALID_KEYS: [&str; 6] = [
    "volumes",
    "provisioner",
    "server",
    "datapath",
    "iops",
    "mbps",
];
/// The prefix of the provisioner's own keys.
pub const PROVISIONER_PREFIX: &str = "provisioner_";

pub(crate) const DEFAULT_SERVER: &str = "/usr/local/bin/crucible-nbd-server";

/// A checked device-config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that declares volumes.
    pub volumes: Option<PathBuf>,
    /// The program that makes and deletes volumes.
    pub provisioner: Option<PathBuf>,
    /// The provisioner's settings: the keys that begin with [`PROVISIONER_PREFIX`], without the prefix.
    pub provisioner_config: BTreeMap<String, String>,
    /// The program that serves a volume, on every host.
    pub server: PathBuf,
    /// How disks are connected to guests.
    pub datapath: Datapath,
    /// The limits of disks that have none of their own.
    pub limits: DiskLimits,
}

/// Why a device-config cannot be used. No text has the value of a key that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No key names the volumes.
    #[error("device-config names no volumes: give device-config:volumes=FILE (a file that declares volumes, the same on every host), device-config:provisioner=PROGRAM (a program that makes volumes), or both")]
    NoVolumes,
    /// A key that means nothing to this driver.
    #[error("device-config:{} is unknown; the valid keys are: {}, and {PROVISIONER_PREFIX}NAME for the provisioner", shown(key), VALID_KEYS.join(", "))]
    UnknownKey {
        /// The key as it was given.
        key: String,
    },
    /// A secret was given, which SM would write to its log on every command.
    #[error("device-config:{} is refused: SM logs the device-config, so a secret must not be in it; put the key of an encrypted volume into a file on each host (key_file) or a secret of XAPI (key_secret), and name that in the list of volumes", shown(key))]
    Secret {
        /// The key as it was given.
        key: String,
    },
    /// A value that cannot be used.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl ConfigError {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::NoVolumes => "SMB-D020",
            Self::UnknownKey { .. } => "SMB-D021",
            Self::Secret { .. } => "SMB-D022",
            Self::Refused(refused) => refused.id(),
        }
    }
}

impl Config {
    /// Parses the pairs that xapi passes.
    ///
    /// # Errors
    /// The first key or value, in the order of their names, that cannot be used.
    pub fn parse(pairs: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Config {
            volumes: None,
            provisioner: None,
            provisioner_config: BTreeMap::new(),
            server: Path::new(DEFAULT_SERVER).to_owned(),
            datapath: Datapath::Aio,
            limits: DiskLimits::default(),
        };
        for (key, value) in pairs {
            config.take(&key, &value)?;
        }
        if config.volumes.is_none() && config.provisioner.is_none() {
            return Err(ConfigError::NoVolumes);
        }
        Ok(config)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let refused = |problem| Refused {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            problem,
        };
        let path = || path(value).map_err(refused);
        match key {
            "volumes" => self.volumes = Some(path()?),
            "provisioner" => self.provisioner = Some(path()?),
            "server" => self.server = path()?,
            "datapath" => self.datapath = Datapath::parse(value).map_err(refused)?,
            "iops" => self.limits.iops = Some(limits::iops(value).map_err(refused)?),
            "mbps" => self.limits.mbps = Some(limits::mbps(value).map_err(refused)?),
            SR_MASTER => {}
            _ if is_secret(key) => {
                return Err(ConfigError::Secret {
                    key: key.to_owned(),
                })
            }
            _ => match key.strip_prefix(PROVISIONER_PREFIX) {
                Some(name) if !name.is_empty() => {
                    let (name, value) = (name.to_owned(), value.to_owned());
                    self.provisioner_config.insert(name, value);
                }
                _ => {
                    return Err(ConfigError::UnknownKey {
                        key: key.to_owned(),
                    })
                }
            },
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::parse(pairs.collect())
    }

    #[test]
    fn a_file_of_volumes_is_enough() {
        let config = parse(&[
            ("volumes", "/etc/smblock/volumes.toml"),
            ("SRmaster", "true"),
        ]);
        let config = config.unwrap();
        assert_eq!(
            config.server,
            Path::new("/usr/local/bin/crucible-nbd-server")
        );
        assert_eq!(config.datapath, Datapath::Aio);
    }

    #[test]
    fn a_provisioner_gets_its_own_settings() {
        let config = parse(&[("provisioner", "/opt/p"), ("provisioner_hosts", "a,b,c")]).unwrap();
        let settings = BTreeMap::from([("hosts".to_owned(), "a,b,c".to_owned())]);
        assert_eq!(config.provisioner_config, settings);
    }

    #[test]
    fn a_refusal_names_the_key_and_what_to_give_instead() {
        let volumes = ("volumes", "/etc/v.toml");
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[], "device-config:volumes=FILE"),
            (
                &[volumes, ("targets", "x")],
                "'targets' is unknown; the valid keys are: volumes",
            ),
            (&[("volumes", "v.toml")], "absolute path"),
            (&[volumes, ("datapath", "nbd")], "choose aio"),
            (
                &[volumes, ("provisioner_password", "hunter2")],
                "must not be in it",
            ),
        ];
        for (pairs, expected) in cases {
            let error = parse(pairs).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
