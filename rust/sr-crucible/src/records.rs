//! What XAPI has about the VDIs of an SR: their `sm_config`, and the values that the driver records there when
//! a volume is first served.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::claim_log::SmConfig;
use super::error::{Context, Error, Result};
use super::xapi::Xapi;

/// A value that is recorded under a key of its own.
pub(super) trait Recorded: Serialize + DeserializeOwned {
    const KEY: &'static str;
    /// Its name in error texts.
    const WHAT: &'static str;
    /// Its name in the error text of its removal.
    const WHOLE: &'static str = Self::WHAT;
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

/// XAPI's records of the VDIs of an SR.
#[derive(Clone, Copy)]
pub(super) struct Records<'a> {
    pub(super) xapi: &'a dyn Xapi,
    pub(super) sr: Uuid,
}

impl Records<'_> {
    /// Returns the SR's VDIs and their `sm_config`.
    pub(super) fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>> {
        let vdis = self.xapi.vdis();
        vdis.of_xapi(|| format!("listing the VDIs of SR {}", self.sr))
    }

    pub(super) fn sm_config(&self, vdi: &Uuid) -> Result<SmConfig> {
        let sm_config = self.xapi.sm_config(vdi);
        let sm_config = sm_config.of_xapi(|| format!("reading who has VDI {vdi}"))?;
        sm_config.ok_or(Error::VdiUnknown { vdi: *vdi })
    }

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

    /// Removes a value, after an administrator has replaced what it is of.
    pub(super) fn forget<T: Recorded>(&self, vdi: &Uuid) -> Result<()> {
        let removed = self.xapi.remove(vdi, T::KEY);
        removed.of_xapi(|| format!("forgetting the {} of VDI {vdi}", T::WHOLE))
    }
}
