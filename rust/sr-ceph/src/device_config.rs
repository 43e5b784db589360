//! An SR's `device-config`: what the administrator typed, parsed and checked once.
//!
//! All values of a [`DeviceConfig`] are safe for librados, for the kernel and for error messages: see
//! [`values`] for what is refused and why.

mod error;
mod layout;
mod values;

use std::collections::btree_map::{BTreeMap, Entry};
use std::path::{Path, PathBuf};

use hostdev::MsMode;
use sr::device_config::{boolean, is_secret, path, Datapath, Problem, Refused, SR_MASTER};
use sr::limits::{self, DiskLimits};

pub use self::error::ConfigError;
use crate::image_features::ImageFeatures;
use crate::image_format::{ImageFormat, Layout};

/// The keys that an administrator may give. Aliases follow the name that they stand for.
pub const VALID_KEYS: [&str; 17] = [
    "pool",
    "namespace",
    "data_pool",
    "ceph_conf",
    "conf",
    "ceph_user",
    "user",
    "keyring",
    "mon_host",
    "datapath",
    "image_features",
    "object_size",
    "stripe_unit",
    "stripe_count",
    "ms_mode",
    "iops",
    "mbps",
];

/// A key of XCP-ng's drivers, whose disks have formats.
const IMAGE_FORMATS: &str = "preferred-image-formats";

pub(crate) const DEFAULT_CONF: &str = "/etc/ceph/ceph.conf";
pub(crate) const DEFAULT_USER: &str = "admin";

/// A checked device-config.
///
/// ```
/// use sr_ceph::device_config::DeviceConfig;
///
/// let config = DeviceConfig::parse([("pool".to_owned(), "vms".to_owned())])?;
/// assert_eq!(config.require_pool()?, "vms");
/// assert_eq!(config.user(), "admin");
/// # Ok::<(), sr_ceph::device_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    pool: Option<String>,
    namespace: String,
    data_pool: Option<String>,
    ceph_conf: Option<PathBuf>,
    user: String,
    keyring: Option<PathBuf>,
    mon_host: Option<String>,
    datapath: Datapath,
    image_format: ImageFormat,
    ms_mode: Option<MsMode>,
    limits: DiskLimits,
}

impl DeviceConfig {
    /// Parses the pairs that xapi passes.
    ///
    /// # Errors
    /// The first key or value that cannot be used, in the order of the keys' names.
    pub fn parse(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut given = Given::sort(pairs)?;
        given.take(SR_MASTER, boolean)?;
        let pool = given.take("pool", values::pool)?;
        Ok(Self {
            namespace: given
                .take("namespace", values::namespace)?
                .unwrap_or_default(),
            data_pool: given.take("data_pool", |name| data_pool(name, pool.as_deref()))?,
            pool,
            ceph_conf: given.take("ceph_conf", path)?,
            user: given
                .take("ceph_user", values::user)?
                .unwrap_or_else(|| DEFAULT_USER.to_owned()),
            keyring: given.take("keyring", path)?,
            mon_host: given.take("mon_host", values::mon_host)?,
            datapath: given
                .take("datapath", Datapath::parse)?
                .unwrap_or(Datapath::Aio),
            image_format: given.image_format()?,
            ms_mode: given.take("ms_mode", ms_mode)?,
            limits: DiskLimits {
                iops: given.take("iops", limits::iops)?,
                mbps: given.take("mbps", limits::mbps)?,
            },
        })
    }

    /// The pool. Only a probe needs none.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }

    /// The RADOS namespace of the pool; empty: the default one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The pool that keeps the data of new images. `None`: the images' own pool.
    #[must_use]
    pub fn data_pool(&self) -> Option<&str> {
        self.data_pool.as_deref()
    }

    /// The pool, for every command that works on an SR.
    ///
    /// # Errors
    /// [`ConfigError::PoolMissing`].
    pub fn require_pool(&self) -> Result<&str, ConfigError> {
        self.pool().ok_or(ConfigError::PoolMissing)
    }

    /// Ceph's configuration file on this host. `None`: none was named, the default file does not exist, and
    /// `mon_host` is given.
    #[must_use]
    pub fn ceph_conf(&self) -> Option<&Path> {
        let default = Path::new(DEFAULT_CONF);
        match &self.ceph_conf {
            Some(named) => Some(named),
            None if self.mon_host.is_some() && !default.exists() => None,
            None => Some(default),
        }
    }

    /// The cephx user's id, without `client.`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The file with the user's key. `None`: Ceph's configuration and search path determine it.
    #[must_use]
    pub fn keyring(&self) -> Option<&Path> {
        self.keyring.as_deref()
    }

    /// The first file in which librados looks for the user's key if none is named.
    pub(crate) fn default_keyring(&self) -> PathBuf {
        PathBuf::from(format!("/etc/ceph/ceph.client.{}.keyring", self.user))
    }

    /// Whether the cluster is the one of `/etc/ceph/ceph.conf`.
    pub(crate) fn is_default_cluster(&self) -> bool {
        let conf = self.ceph_conf.as_deref();
        self.mon_host.is_none() && conf.is_none_or(|conf| conf == Path::new(DEFAULT_CONF))
    }

    /// The monitors, in Ceph's own notation. `None`: Ceph's configuration has them.
    #[must_use]
    pub fn mon_host(&self) -> Option<&str> {
        self.mon_host.as_deref()
    }

    /// How disks are connected to guests.
    #[must_use]
    pub const fn datapath(&self) -> Datapath {
        self.datapath
    }

    /// The limits of disks that have none of their own.
    #[must_use]
    pub const fn limits(&self) -> DiskLimits {
        self.limits
    }

    /// The features of new images. Only a host's kernel shows whether it can map them.
    #[must_use]
    pub const fn image_features(&self) -> ImageFeatures {
        self.image_format.features
    }

    /// How new images are made.
    #[must_use]
    pub const fn image_format(&self) -> ImageFormat {
        self.image_format
    }

    /// How hosts' kernels connect to the cluster. `None`: each kernel and the monitors determine it.
    #[must_use]
    pub const fn ms_mode(&self) -> Option<MsMode> {
        self.ms_mode
    }
}

/// The pairs by the name that each key stands for, with the spelling that was used.
struct Given(BTreeMap<&'static str, (&'static str, String)>);

impl Given {
    fn sort(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut sorted = BTreeMap::new();
        for (key, value) in pairs {
            let Some(spelling) = known(&key) else {
                return Err(match key.as_str() {
                    IMAGE_FORMATS => ConfigError::ImageFormats,
                    _ if is_secret(&key) => ConfigError::Secret { key },
                    _ => ConfigError::UnknownKey { key },
                });
            };
            match sorted.entry(stands_for(spelling)) {
                Entry::Vacant(free) => {
                    free.insert((spelling, value));
                }
                Entry::Occupied(taken) if taken.get().1 == value => {}
                Entry::Occupied(taken) => {
                    return Err(ConfigError::Conflict {
                        first: taken.get().0,
                        second: spelling,
                    })
                }
            }
        }
        Ok(Self(sorted))
    }

    fn image_format(&mut self) -> Result<ImageFormat, ConfigError> {
        let features = self.take("image_features", image_features)?;
        let object_size = self.take("object_size", layout::object_size)?;
        let object_size = object_size.unwrap_or(Layout::DEFAULT.object_size);
        let unit = self.take("stripe_unit", |v| layout::stripe_unit(v, object_size))?;
        let count = self.take("stripe_count", |v| layout::stripe_count(v, object_size))?;
        let layout = layout::layout(object_size, unit, count).map_err(|(key, problem)| {
            ConfigError::Refused(Refused {
                key: key.to_owned(),
                value: unit.or(count).map(|value| value.to_string()),
                problem,
            })
        })?;
        Ok(ImageFormat {
            features: features.unwrap_or(ImageFeatures::DEFAULT),
            layout,
        })
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((key, value)) = self.0.remove(name) else {
            return Ok(None);
        };
        parse(&value).map(Some).map_err(|problem| {
            ConfigError::Refused(Refused {
                key: key.to_owned(),
                value: (!may_be_secret(name, &value)).then_some(value),
                problem,
            })
        })
    }
}

/// Whether a device-config can name a pool of this name.
pub(crate) fn is_pool_name(name: &str) -> bool {
    values::pool(name).is_ok()
}

/// Whether a device-config can name a namespace of this name.
pub(crate) fn is_namespace_name(name: &str) -> bool {
    values::namespace(name).is_ok()
}

fn known(key: &str) -> Option<&'static str> {
    VALID_KEYS
        .into_iter()
        .chain([SR_MASTER])
        .find(|&valid| valid == key)
}

fn stands_for(key: &'static str) -> &'static str {
    match key {
        "conf" => "ceph_conf",
        "user" => "ceph_user",
        other => other,
    }
}

/// Whether a refused value may be the key itself, instead of the path of its file or of the user's name.
/// Ceph's keys are base64 that ends with an equals sign.
fn may_be_secret(name: &str, value: &str) -> bool {
    name == "keyring" || value.ends_with('=')
}

fn data_pool(value: &str, pool: Option<&str>) -> Result<String, Problem> {
    let name = values::pool(value)?;
    if pool == Some(value) {
        let text = "it is the pool of the SR itself; leave the key out".to_owned();
        return Err(Problem::Meaning(text));
    }
    Ok(name)
}

fn image_features(value: &str) -> Result<ImageFeatures, Problem> {
    ImageFeatures::parse(value).map_err(|error| Problem::Meaning(error.to_string()))
}

fn ms_mode(value: &str) -> Result<MsMode, Problem> {
    MsMode::parse(value).ok_or_else(|| {
        let names = MsMode::ALL.map(MsMode::name);
        Problem::Meaning(format!("choose one of {}", names.join(", ")))
    })
}
