//! Checks that a volume's key is the one that the volume was written with.
//!
//! A server accepts any key. It ends at the first block that it cannot decrypt, and writes all others. A
//! volume with little data would accept a second key, and be lost for both. So the fingerprint of the key
//! is recorded in the VDI's `sm_config` (key `crucible_key`) when the volume is first served, after some of
//! it was read. It is compared before each start of a server.
//!
//! [`CrucibleSr::accept`](super::CrucibleSr::accept) removes the record, for an administrator who has made the
//! volume anew.

use crucible_host::Volume;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::claim_log::SmConfig;
use super::error::{Context, Error, Result};
use super::host::Host;
use super::records::{recorded, Recorded, Records};

#[derive(Serialize, Deserialize)]
struct Key {
    fingerprint: String,
}

impl Recorded for Key {
    const KEY: &'static str = "crucible_key";
    const WHAT: &'static str = "key's fingerprint";
    const WHOLE: &'static str = "key";
}

pub(super) fn recorded_key(vdi: &Uuid, sm_config: &SmConfig) -> Result<Option<String>> {
    Ok(recorded::<Key>(vdi, sm_config)?.map(|key| key.fingerprint))
}

/// Returns the fingerprint of a volume's key.
///
/// # Errors
/// [`Error::WrongKey`] if another key was recorded.
pub(super) fn require(
    host: &dyn Host,
    records: Records<'_>,
    volume: &Volume,
) -> Result<Option<String>> {
    let vdi = &volume.uuid;
    let read = host.fingerprint(volume);
    let found = read.doing(|| format!("reading the key of VDI {vdi}"))?;
    let sm_config = records.sm_config(vdi)?;
    match (&found, recorded_key(vdi, &sm_config)?) {
        (Some(found), Some(recorded)) if *found != recorded => Err(Error::WrongKey { vdi: *vdi }),
        _ => Ok(found),
    }
}

/// Records the fingerprint of the key that the volume is served with.
pub(super) fn record(
    records: Records<'_>,
    volume: &Volume,
    fingerprint: Option<&str>,
) -> Result<()> {
    let (vdi, Some(fingerprint)) = (&volume.uuid, fingerprint) else {
        return Ok(());
    };
    if let Some(recorded) = recorded_key(vdi, &records.sm_config(vdi)?)? {
        return match recorded == fingerprint {
            true => Ok(()),
            false => Err(Error::WrongKey { vdi: *vdi }),
        };
    }
    let fingerprint = fingerprint.to_owned();
    records.record(vdi, Key { fingerprint })
}

/// Removes the record, after an administrator has made the volume anew.
pub(super) fn forget(records: Records<'_>, vdi: &Uuid) -> Result<()> {
    records.forget::<Key>(vdi)
}
