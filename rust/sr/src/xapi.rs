//! What XAPI's database and an SR exchange about VDIs.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What XAPI has about a VDI. XAPI's fields count while the SR is plugged. The catalogue's copy is used when
/// the SR is introduced again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct XapiFields {
    /// `name_label`
    pub name_label: String,
    /// `name_description`
    pub name_description: String,
    /// `type`: user, system, ephemeral, …
    #[serde(rename = "type")]
    pub ty: String,
    /// `read_only`
    pub read_only: bool,
    /// `sharable`
    pub sharable: bool,
    /// `managed`
    pub managed: bool,
    /// `metadata_of_pool`, a reference
    pub metadata_of_pool: String,
    /// `is_a_snapshot`
    pub is_a_snapshot: bool,
    /// `snapshot_of`, as a UUID
    pub snapshot_of: Option<Uuid>,
    /// `snapshot_time`, as XML-RPC writes it (`20261121T08:00:00Z`)
    pub snapshot_time: String,
    /// `sm_config` without the keys that belong to a running host
    pub sm_config: BTreeMap<String, String>,
    /// The fields of a newer version, in the catalogue.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The fields of a stored object that this version does not have. They are kept if it writes the object again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Unknown(BTreeMap<String, Value>);

/// The version of the smblock that wrote a record, which is no other version's field.
const WRITER: &str = "smblock";

impl<'de> Deserialize<'de> for Unknown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = BTreeMap::deserialize(deserializer)?;
        fields.remove(WRITER);
        Ok(Unknown(fields))
    }
}

/// `snapshot_time` of a VDI that is no snapshot.
pub const NO_TIME: &str = "19700101T00:00:00Z";

impl XapiFields {
    /// The fields of a snapshot that is taken of this VDI at `now` (seconds since 1970), until XAPI sets
    /// others.
    pub fn for_snapshot(&self, of: Uuid, now: u64) -> Self {
        let time = UNIX_EPOCH + Duration::from_secs(now);
        XapiFields {
            read_only: true,
            is_a_snapshot: true,
            snapshot_of: Some(of),
            snapshot_time: humantime::format_rfc3339_seconds(time)
                .to_string()
                .replace('-', ""),
            unknown: Unknown::default(),
            ..self.clone()
        }
    }

    /// The fields for the catalogue if XAPI has these, and the catalogue had `before`.
    ///
    /// A snapshot keeps its disk if XAPI has none, or one that cannot be found: XAPI has none for a moment
    /// while it introduces the SR's VDIs, and drops its reference when the disk is deleted. A deleted disk
    /// does no harm here, because no other VDI gets its UUID.
    pub fn after(&self, before: &Self) -> Self {
        let kept = before.snapshot_of.filter(|_| self.is_a_snapshot);
        XapiFields {
            snapshot_of: self.snapshot_of.or(kept),
            unknown: before.unknown.clone(),
            ..self.clone()
        }
    }

    /// The fields of a clone of this VDI.
    pub fn for_clone(&self) -> Self {
        XapiFields {
            read_only: false,
            is_a_snapshot: false,
            snapshot_of: None,
            snapshot_time: NO_TIME.to_owned(),
            unknown: Unknown::default(),
            ..self.clone()
        }
    }
}

/// A VDI as XAPI's database has it.
#[derive(Debug, Clone)]
pub struct XapiVdi {
    /// The VDI's UUID.
    pub uuid: Uuid,
    /// `virtual_size` in bytes.
    pub size: u64,
    /// All other fields.
    pub fields: XapiFields,
}

/// A VDI that the SR holds.
#[derive(Debug, Clone)]
pub struct ScannedVdi {
    /// The VDI's UUID, which is its location too.
    pub uuid: Uuid,
    /// Virtual size in bytes.
    pub size: u64,
    /// What XAPI has about it, or had when the catalogue was last updated.
    pub xapi: XapiFields,
    /// Whether its changes are tracked: XAPI's `cbt_enabled`.
    pub cbt_enabled: bool,
    /// Whether XAPI's database has it.
    pub known_to_xapi: bool,
}

/// `sm_config` without the keys of a running host or of another part of SM: they would be wrong after the SR
/// was introduced elsewhere.
pub fn lasting_sm_config(sm_config: BTreeMap<String, String>) -> BTreeMap<String, String> {
    const TRANSIENT: [&str; 10] = [
        "paused",
        "activating",
        "relinking",
        "base_mirror",
        "on_boot",
        "caching",
        "import_task",
        "key_hash",
        "backend-kind",
        "image-format",
    ];
    sm_config
        .into_iter()
        .filter(|(key, _)| {
            !TRANSIENT.contains(&key.as_str())
                && !key.starts_with("host_")
                && !key.starts_with("read-caching-")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_running_host_are_not_kept() {
        let sm_config = [
            ("host_OpaqueRef:1", "RW"),
            ("paused", "true"),
            ("read-caching-enabled-on-1", "false"),
            ("image-format", "raw"),
            ("vhd-parent", "abc"),
        ];
        let sm_config = sm_config
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let kept: Vec<_> = lasting_sm_config(sm_config).into_keys().collect();
        assert_eq!(kept, ["vhd-parent"]);
    }
}
