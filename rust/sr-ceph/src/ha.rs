//! Which disks high availability uses: those that every host writes to at once. `vdi/ha.rs` attaches them.

use sr::xapi::XapiFields;

use crate::error::{HaRefusal, Result};
use crate::record::VdiRecord;

/// XAPI's types of the disks that every host writes to.
const TYPES: [&str; 2] = ["ha_statefile", "redo_log"];

/// Whether high availability uses a disk with those fields.
pub(crate) fn is_for_ha(xapi: &XapiFields) -> bool {
    TYPES.contains(&xapi.ty.as_str())
}

/// Whether a VDI is a disk that every host writes to, and no snapshot of one.
pub(crate) fn is_ha_disk(record: &VdiRecord) -> bool {
    is_for_ha(&record.xapi) && record.volume.snapshot().is_none()
}

/// Refuses an operation on a disk that every host writes to. `refused`: what cannot be done, as a participle.
pub(crate) fn refuse(record: &VdiRecord, refused: &'static str) -> Result<()> {
    if !is_ha_disk(record) {
        return Ok(());
    }
    let (vdi, ty) = (record.uuid, record.xapi.ty.clone());
    Err(HaRefusal::Refused { vdi, ty, refused }.into())
}
