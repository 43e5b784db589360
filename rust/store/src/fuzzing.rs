//! Entry points of `make fuzz` for parsers that this crate keeps to itself. None may panic.

use uuid::Uuid;

/// The `sm_config` of a Crucible VDI: its claims, its recorded regions and its key's fingerprint.
pub fn crucible_sm_config(sm_config: &crate::crucible::SmConfig) {
    let vdi = Uuid::nil();
    if let Ok(log) = crate::crucible::Log::read(&vdi, sm_config) {
        assert!(log.open().is_none_or(|claim| claim.vdi == vdi));
    }
    crate::crucible::read_recorded(&vdi, sm_config);
}
