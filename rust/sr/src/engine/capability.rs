//! What an SR type can support.

/// Something that an SR type can support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Finding SRs, or places for one.
    SrProbe,
    /// Keeping a copy of XAPI's database, for disaster recovery.
    SrMetadata,
    /// Copying a new name of the SR, and returning how full it is.
    SrUpdate,
    /// A disk takes only the space that was written to.
    ThinProvisioning,
    /// Disks above 2 TiB.
    LargeVdi,
    /// A disk is connected by its activation alone, and can be paused.
    AtomicPause,
    /// Creating disks.
    VdiCreate,
    /// Deleting VDIs.
    VdiDelete,
    /// Introducing VDIs that XAPI does not have.
    VdiIntroduce,
    /// Copying a VDI's new name.
    VdiUpdate,
    /// Making disks larger.
    VdiResize,
    /// The first half of connecting a disk.
    VdiAttach,
    /// The second half of disconnecting a disk.
    VdiDetach,
    /// The second half of connecting a disk.
    VdiActivate,
    /// The first half of disconnecting a disk.
    VdiDeactivate,
    /// Taking snapshots.
    VdiSnapshot,
    /// Cloning VDIs.
    VdiClone,
    /// Giving a disk the content of a snapshot.
    VdiRevert,
    /// Disks that forget their changes when their VM starts.
    VdiResetOnBoot,
    /// Disks of high availability, which all hosts write to.
    VdiGenerateConfig,
    /// Listing which blocks of a disk have changed.
    VdiConfigCbt,
    /// Cutting a dead host off from the SR's disks.
    Fence,
    /// Freeing space after a deletion has returned.
    Reclaim,
    /// Accepting other storage behind a volume.
    Accept,
    /// Taking over the disks of another driver.
    Adopt,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Capability; 25] = [
        Self::SrProbe,
        Self::SrMetadata,
        Self::SrUpdate,
        Self::ThinProvisioning,
        Self::LargeVdi,
        Self::AtomicPause,
        Self::VdiCreate,
        Self::VdiDelete,
        Self::VdiIntroduce,
        Self::VdiUpdate,
        Self::VdiResize,
        Self::VdiAttach,
        Self::VdiDetach,
        Self::VdiActivate,
        Self::VdiDeactivate,
        Self::VdiSnapshot,
        Self::VdiClone,
        Self::VdiRevert,
        Self::VdiResetOnBoot,
        Self::VdiGenerateConfig,
        Self::VdiConfigCbt,
        Self::Fence,
        Self::Reclaim,
        Self::Accept,
        Self::Adopt,
    ];

    /// The name that SM has for it, or smblock's own name, which is in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// What an SR with the capability can do, as in "it can *take snapshots*".
    #[must_use]
    pub const fn does(self) -> &'static str {
        self.words().1
    }

    /// Whether SM has a name for it.
    #[must_use]
    pub const fn is_sms(self) -> bool {
        !matches!(
            self,
            Self::Fence | Self::Reclaim | Self::Accept | Self::Adopt
        )
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::SrProbe => ("SR_PROBE", "find SRs"),
            Self::SrMetadata => ("SR_METADATA", "keep a copy of XAPI's database"),
            Self::SrUpdate => ("SR_UPDATE", "return how full it is"),
            Self::ThinProvisioning => ("THIN_PROVISIONING", "store only what was written"),
            Self::LargeVdi => ("LARGE_VDI", "have disks above 2 TiB"),
            Self::AtomicPause => ("ATOMIC_PAUSE", "pause a disk"),
            Self::VdiCreate => ("VDI_CREATE", "create disks"),
            Self::VdiDelete => ("VDI_DELETE", "delete VDIs"),
            Self::VdiIntroduce => ("VDI_INTRODUCE", "introduce VDIs"),
            Self::VdiUpdate => ("VDI_UPDATE", "take over a VDI's new name"),
            Self::VdiResize => ("VDI_RESIZE", "resize disks"),
            Self::VdiAttach => ("VDI_ATTACH", "attach VDIs"),
            Self::VdiDetach => ("VDI_DETACH", "detach VDIs"),
            Self::VdiActivate => ("VDI_ACTIVATE", "activate VDIs"),
            Self::VdiDeactivate => ("VDI_DEACTIVATE", "deactivate VDIs"),
            Self::VdiSnapshot => ("VDI_SNAPSHOT", "take snapshots"),
            Self::VdiClone => ("VDI_CLONE", "clone VDIs"),
            Self::VdiRevert => ("VDI_REVERT", "revert disks to snapshots"),
            Self::VdiResetOnBoot => ("VDI_RESET_ON_BOOT/2", "reset disks when their VM starts"),
            Self::VdiGenerateConfig => ("VDI_GENERATE_CONFIG", "have disks of high availability"),
            Self::VdiConfigCbt => ("VDI_CONFIG_CBT", "list changed blocks"),
            Self::Fence => ("fence", "cut a host off from its disks"),
            Self::Reclaim => ("reclaim", "free space in the background"),
            Self::Accept => ("accept", "accept other storage behind a volume"),
            Self::Adopt => ("adopt", "take over the disks of another driver"),
        }
    }
}
