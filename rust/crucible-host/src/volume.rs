//! A volume, and its form in files and in the protocol of provisioners.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::target::REPAIR_PORT_OFFSET;
use crate::Error;

/// Crucible's smallest block: the size of a region is a multiple of it.
const BLOCK: u64 = 512;

/// A volume: one region, on three storage servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The UUID of its VDI.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its description; may be empty.
    pub description: String,
    /// Bytes; a multiple of 512.
    pub size: u64,
    /// The addresses of the data ports of the three downstairs. No two volumes have one in common.
    pub targets: [SocketAddr; 3],
    /// The UUIDs of its regions, in any order, if they are declared. Regions that were created by hand may
    /// all have the same UUID.
    pub regions: Option<[Uuid; 3]>,
    /// The highest generation that was ever used by hand, or 0. smblock uses higher ones.
    pub generation_floor: u64,
    /// The source of its key, if its data is encrypted.
    pub key: Option<KeySource>,
}

/// The source of the key of an encrypted volume. See [`crate::key`] for the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file of mode 0600 on each host.
    File(PathBuf),
    /// A secret in XAPI.
    Secret(Uuid),
}

/// A volume in a declaration (TOML) or in the protocol of provisioners (JSON).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    uuid: String,
    name: String,
    #[serde(default)]
    description: String,
    size: u64,
    targets: Vec<String>,
    #[serde(default)]
    generation: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_secret: Option<String>,
}

impl Written {
    /// Returns its name for an error.
    pub(crate) fn label(&self) -> String {
        format!("{:?} ({:?})", self.uuid, self.name)
    }
}

/// What is wrong with one field of one volume, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) field: &'static str,
    pub(crate) text: String,
}

fn mistake<T>(field: &'static str, text: String) -> Result<T, Mistake> {
    Err(Mistake { field, text })
}

impl TryFrom<Written> for Volume {
    type Error = Mistake;

    fn try_from(written: Written) -> Result<Self, Mistake> {
        let size = written.size;
        if size == 0 || !size.is_multiple_of(BLOCK) || i64::try_from(size).is_err() {
            return mistake(
                "size",
                format!("{size} is no size of a region: write its bytes, a multiple of {BLOCK}"),
            );
        }
        if written.name.trim().is_empty() {
            return mistake(
                "name",
                "the name is empty: write the name that the VDI shall have".into(),
            );
        }
        Ok(Volume {
            uuid: uuid("uuid", &written.uuid)?,
            name: written.name,
            description: written.description,
            size,
            targets: targets(&written.targets)?,
            regions: regions(&written.regions)?,
            generation_floor: written.generation,
            key: key(written.key_file, written.key_secret)?,
        })
    }
}

impl From<&Volume> for Written {
    fn from(volume: &Volume) -> Self {
        let (key_file, key_secret) = match &volume.key {
            None => (None, None),
            Some(KeySource::File(path)) => (Some(path.clone()), None),
            Some(KeySource::Secret(secret)) => (None, Some(secret.to_string())),
        };
        Written {
            uuid: volume.uuid.to_string(),
            name: volume.name.clone(),
            description: volume.description.clone(),
            size: volume.size,
            targets: volume.targets.iter().map(ToString::to_string).collect(),
            generation: volume.generation_floor,
            regions: volume
                .regions
                .iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            key_file,
            key_secret,
        }
    }
}

fn uuid(field: &'static str, text: &str) -> Result<Uuid, Mistake> {
    match Uuid::try_parse(text) {
        Ok(uuid) if !uuid.is_nil() => Ok(uuid),
        _ => mistake(
            field,
            format!("{text:?} is no UUID: write one of its own, as `uuidgen` prints it"),
        ),
    }
}

fn targets(written: &[String]) -> Result<[SocketAddr; 3], Mistake> {
    let targets = written
        .iter()
        .map(|text| target(text))
        .collect::<Result<Vec<_>, _>>()?;
    let Ok(targets) = <[SocketAddr; 3]>::try_from(targets) else {
        return mistake(
            "targets",
            format!(
                "{} targets: write the addresses of the three downstairs of the region",
                written.len()
            ),
        );
    };
    let [first, second, third] = targets;
    let twice = (first == second || first == third)
        .then_some(first)
        .or_else(|| (second == third).then_some(second));
    if let Some(twice) = twice {
        return mistake(
            "targets",
            format!("{twice} twice: each of the three downstairs has an address of its own"),
        );
    }
    Ok(targets)
}

fn regions(written: &[String]) -> Result<Option<[Uuid; 3]>, Mistake> {
    if written.is_empty() {
        return Ok(None);
    }
    let regions = written
        .iter()
        .map(|text| uuid("regions", text))
        .collect::<Result<Vec<_>, _>>()?;
    match <[Uuid; 3]>::try_from(regions) {
        Ok(regions) => Ok(Some(regions)),
        Err(other) => mistake(
            "regions",
            format!(
                "{} regions: write the `uuid` of region.json of each of the three, or none",
                other.len()
            ),
        ),
    }
}

fn target(text: &str) -> Result<SocketAddr, Mistake> {
    match text.parse::<SocketAddr>() {
        Ok(address)
            if !address.ip().is_unspecified()
                && address.port() != 0
                && address.port().checked_add(REPAIR_PORT_OFFSET).is_some() =>
        {
            Ok(address)
        }
        _ => mistake(
            "targets",
            format!(
                "{text:?} is no address of a downstairs: write address:port with a numeric address \
                 and a port up to {}, such as \"10.0.0.1:3810\"",
                u16::MAX - REPAIR_PORT_OFFSET
            ),
        ),
    }
}

fn key(file: Option<PathBuf>, secret: Option<String>) -> Result<Option<KeySource>, Mistake> {
    match (file, secret) {
        (None, None) => Ok(None),
        (Some(path), None) if path.is_absolute() => Ok(Some(KeySource::File(path))),
        (Some(path), None) => mistake(
            "key_file",
            format!("{path:?} is no absolute path: begin it with /"),
        ),
        (None, Some(text)) => Ok(Some(KeySource::Secret(uuid("key_secret", &text)?))),
        (Some(_), Some(_)) => mistake(
            "key_secret",
            "there is a key_file too: write one of the two".into(),
        ),
    }
}

/// Checks that no two volumes of an SR have a UUID or a downstairs in common. Two volumes on one downstairs
/// would overwrite each other.
///
/// # Errors
/// [`Error::Conflict`]
pub fn check_distinct(volumes: &[Volume]) -> Result<(), Error> {
    match conflict(volumes) {
        None => Ok(()),
        Some((index, mistake)) => Err(Error::Conflict {
            volume: volumes[index].uuid,
            name: volumes[index].name.clone(),
            reason: format!("{}: {}", mistake.field, mistake.text),
        }),
    }
}

/// Returns the index of the first volume that has a UUID or a target of an earlier one, and the mistake.
pub(crate) fn conflict(volumes: &[Volume]) -> Option<(usize, Mistake)> {
    let mut uuids: HashSet<Uuid> = HashSet::new();
    let mut owners: HashMap<SocketAddr, &Volume> = HashMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        if !uuids.insert(volume.uuid) {
            let text = format!(
                "{} is the uuid of an earlier volume too: each has its own",
                volume.uuid
            );
            return Some((
                index,
                Mistake {
                    field: "uuid",
                    text,
                },
            ));
        }
        for target in volume.targets {
            if let Some(other) = owners.insert(target, volume) {
                let text = format!(
                    "{target} belongs to volume {} ({}) already: a downstairs keeps one region",
                    other.uuid, other.name
                );
                return Some((
                    index,
                    Mistake {
                        field: "targets",
                        text,
                    },
                ));
            }
        }
    }
    None
}
