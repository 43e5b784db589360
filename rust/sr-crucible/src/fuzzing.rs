//! Entry points of `make fuzz` for private parsers. None may panic.

use uuid::Uuid;

/// The `sm_config` of a Crucible VDI: its claims, its recorded regions and its key's fingerprint.
pub fn sm_config(sm_config: &crate::SmConfig) {
    let vdi = Uuid::nil();
    if let Ok(log) = crate::Log::read(&vdi, sm_config) {
        assert!(log.open().is_none_or(|claim| claim.vdi == vdi));
    }
    crate::read_recorded(&vdi, sm_config);
}
