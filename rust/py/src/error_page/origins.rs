//! The enums of the errors, by section of the page, and where failures.rs has SM's names of them.

/// The arms of the table in failures.rs with SM's names of an enum's errors.
pub enum Names {
    /// The arms of its own variants, in that function.
    Own(&'static str),
    /// The arms of these variants, which contain it: function and variant.
    Of(&'static [(&'static str, &'static str)]),
    /// SM gets none of them.
    None,
}

/// An enum or a struct whose errors have ids.
pub struct Origin {
    pub file: &'static str,
    /// The file with its function `id`, if it is not `file`.
    pub ids: Option<&'static str>,
    pub item: &'static str,
    pub names: Names,
}

const fn origin(file: &'static str, item: &'static str, names: Names) -> Origin {
    Origin {
        file,
        ids: None,
        item,
        names,
    }
}

const UNREACHABLE: Names = Names::Of(&[("of_ceph", "Unreachable")]);
const HOST: Names = Names::Of(&[("of_ceph", "Host"), ("of_crucible", "Host")]);

/// The sections of the page.
pub const SECTIONS: [(&str, &[Origin]); 6] = [
    (
        "SRs of type cephrbd: SMB-C",
        &[
            Origin {
                ids: Some("sr-ceph/src/error/ids.rs"),
                ..origin("sr-ceph/src/error.rs", "Error", Names::Own("of_ceph"))
            },
            origin(
                "sr-ceph/src/error/pools.rs",
                "PoolGone",
                Names::Of(&[("of_ceph", "PoolGone")]),
            ),
            origin(
                "sr-ceph/src/error/pools.rs",
                "DataPoolError",
                Names::Of(&[("of_ceph", "DataPool")]),
            ),
            origin(
                "sr-ceph/src/error/pools.rs",
                "NamespaceError",
                Names::Of(&[("of_ceph", "Namespace")]),
            ),
            origin(
                "sr-ceph/src/error/pools.rs",
                "KernelTooOld",
                Names::Of(&[("of_ceph", "KernelTooOld")]),
            ),
            origin(
                "sr-ceph/src/usage.rs",
                "NoRoom",
                Names::Of(&[("of_ceph", "NoRoom")]),
            ),
            origin(
                "sr-ceph/src/usage/report.rs",
                "UsageError",
                Names::Of(&[("of_ceph", "Usage")]),
            ),
            origin(
                "sr-ceph/src/messenger.rs",
                "NoRoute",
                Names::Of(&[("of_ceph", "Host")]),
            ),
            origin(
                "sr-ceph/src/error/image.rs",
                "ImageError",
                Names::Own("of_image"),
            ),
            origin(
                "sr-ceph/src/error/by_hand.rs",
                "Migrating",
                Names::Of(&[("of_ceph", "ByHand")]),
            ),
            origin(
                "sr-ceph/src/error/by_hand.rs",
                "ByHand",
                Names::Of(&[("of_ceph", "ByHand")]),
            ),
            origin(
                "sr-ceph/src/error/changed.rs",
                "Changed",
                Names::Of(&[("of_ceph", "Changed")]),
            ),
            origin(
                "sr-ceph/src/error/ha.rs",
                "HaRefusal",
                Names::Of(&[("of_ceph", "Ha")]),
            ),
            origin(
                "sr-ceph/src/error/template.rs",
                "TemplateRefusal",
                Names::Of(&[("of_ceph", "Template")]),
            ),
            origin(
                "sr-ceph/src/error/together.rs",
                "NotTogether",
                Names::Of(&[("of_ceph", "NotTogether")]),
            ),
            origin(
                "sr-ceph/src/error/cbt.rs",
                "CbtRefusal",
                Names::Own("of_cbt"),
            ),
            origin(
                "sr-ceph/src/error/growth.rs",
                "GrowthRefusal",
                Names::Of(&[("of_ceph", "Growth")]),
            ),
        ],
    ),
    (
        "SRs of type crucible: SMB-X",
        &[
            origin(
                "sr-crucible/src/error.rs",
                "Error",
                Names::Own("of_crucible"),
            ),
            origin(
                "crucible-host/src/error.rs",
                "Error",
                Names::Of(&[("of_crucible", "Inventory"), ("of_crucible", "Host")]),
            ),
        ],
    ),
    (
        "Exports: SMB-N",
        &[origin("nbd-export/src/error.rs", "Error", Names::None)],
    ),
    (
        "The device-config: SMB-D",
        &[
            origin(
                "sr-ceph/src/device_config/error.rs",
                "ConfigError",
                Names::Own("of_ceph_config"),
            ),
            origin(
                "sr/src/device_config/refused.rs",
                "Problem",
                Names::Own("of_refused"),
            ),
            origin(
                "sr-crucible/src/config.rs",
                "ConfigError",
                Names::Own("of_crucible_config"),
            ),
        ],
    ),
    (
        "The host: SMB-H",
        &[
            origin("hostos/src/files.rs", "FileError", HOST),
            origin(
                "hostos/src/throttle/error.rs",
                "ThrottleError",
                Names::Of(&[]),
            ),
            origin("hostdev/src/error.rs", "Error", HOST),
        ],
    ),
    (
        "The connection to Ceph: SMB-L",
        &[
            origin("librbd/src/error.rs", "Error", UNREACHABLE),
            origin("librbd/src/connection_failure.rs", "Cause", UNREACHABLE),
        ],
    ),
];

/// The errors of no SR type.
pub const OWN: [Origin; 3] = [
    origin("sr/src/engine/error.rs", "Error", Names::Own("of_engine")),
    origin(
        "py/src/unknown_type.rs",
        "UnknownType",
        Names::Of(&[("of_engine", "Unsupported")]),
    ),
    origin(
        "sr/src/limits.rs",
        "BadLimit",
        Names::Of(&[("of_refused", "Meaning")]),
    ),
];
