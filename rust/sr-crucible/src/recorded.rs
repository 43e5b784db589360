//! Values that the driver records in the VDI's `sm_config` when a volume is first served.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::claim_log::SmConfig;
use super::error::{Context, Error, Result};
use super::CrucibleSr;

/// A value that is recorded under a key of its own.
pub(super) trait Recorded: Serialize + DeserializeOwned {
    const KEY: &'static str;
    /// Its name in error texts.
    const WHAT: &'static str;
}

/// The recorded text. It names its VDI, because XAPI may copy a VDI's maps to another.
#[derive(Serialize, Deserialize)]
struct OfVdi<T> {
    vdi: Uuid,
    #[serde(flatten)]
    value: T,
}

fn unreadable<T: Recorded>(vdi: &Uuid, error: &serde_json::Error) -> Error {
    Error::Unreadable {
        vdi: *vdi,
        key: T::KEY,
        detail: error.to_string(),
    }
}

/// Returns the value that a VDI has recorded. `None` if it has none, or only another VDI's.
pub(super) fn recorded<T: Recorded>(vdi: &Uuid, sm_config: &SmConfig) -> Result<Option<T>> {
    let Some(text) = sm_config.get(T::KEY) else {
        return Ok(None);
    };
    let of: OfVdi<T> = serde_json::from_str(text).map_err(|e| unreadable::<T>(vdi, &e))?;
    Ok((of.vdi == *vdi).then_some(of.value))
}

impl CrucibleSr<'_> {
    /// Records a value of a VDI that has none.
    pub(super) fn record<T: Recorded>(&self, vdi: &Uuid, value: T) -> Result<()> {
        let text = serde_json::to_string(&OfVdi { vdi: *vdi, value });
        let text = text.map_err(|e| unreadable::<T>(vdi, &e))?;
        let doing = || format!("recording the {} of VDI {vdi}", T::WHAT);
        // The key may have a value that XAPI copied from another VDI.
        self.xapi.remove(vdi, T::KEY).of_xapi(doing)?;
        self.xapi.add(vdi, T::KEY, &text).of_xapi(doing)?;
        Ok(())
    }
}
