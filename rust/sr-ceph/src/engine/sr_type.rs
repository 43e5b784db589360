//! What the SR type has without an SR.

use sr::engine::{Capability, SrType};

use super::config_keys;

/// SRs of type cephrbd.
pub static SR_TYPE: SrType = SrType {
    name: "cephrbd",
    capabilities: &[
        Capability::SrProbe,
        Capability::SrMetadata,
        Capability::SrUpdate,
        Capability::ThinProvisioning,
        Capability::LargeVdi,
        Capability::AtomicPause,
        Capability::VdiCreate,
        Capability::VdiDelete,
        Capability::VdiIntroduce,
        Capability::VdiUpdate,
        Capability::VdiResize,
        Capability::VdiResizeOnline,
        Capability::VdiAttach,
        Capability::VdiDetach,
        Capability::VdiActivate,
        Capability::VdiDeactivate,
        Capability::VdiSnapshot,
        Capability::VdiClone,
        Capability::VdiRevert,
        Capability::VdiResetOnBoot,
        Capability::VdiGenerateConfig,
        Capability::VdiConfigCbt,
        Capability::Fence,
        Capability::Reclaim,
        Capability::Adopt,
        Capability::Measure,
        Capability::Image,
    ],
    configuration: &config_keys::CONFIG_KEYS,
    marks: &["pool"],
    instead: &[
        (
            Capability::Accept,
            "only SRs of type crucible have volumes to accept: give device-config:volumes or :provisioner",
        ),
        (
            Capability::VdiMirrorIn,
            "shut the VM down, and copy its disks with 'xe vdi-copy uuid=VDI sr-uuid=SR'",
        ),
    ],
};
