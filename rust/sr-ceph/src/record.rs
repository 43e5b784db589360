//! What the catalogue holds: records of an SR, of its VDIs, and of operations under way, as versioned JSON.

use serde::{Deserialize, Serialize};
use sr::xapi::{ScannedVdi, XapiFields};
use uuid::Uuid;

use crate::host::Owner;

mod format;

pub use format::{newer, Newer, Record, Unknown, Unreadable, VERSION};

/// Implements [`Record`] for a type with the fields `version` and `nonce`.
macro_rules! record {
    ($type:ty) => {
        impl $crate::record::Record for $type {
            fn version(&self) -> u32 {
                self.version
            }
            fn nonce(&self) -> Uuid {
                self.nonce
            }
            fn renew(&mut self) {
                self.version = $crate::record::VERSION;
                self.nonce = Uuid::new_v4();
            }
        }
    };
}
pub(crate) use record;

mod hosts;

pub use hosts::{Claim, Death, HostRecord, ReaderRecord};

/// The SR itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrRecord {
    version: u32,
    nonce: Uuid,
    /// The SR's UUID.
    pub uuid: Uuid,
    /// Its name in XAPI, as last seen.
    pub name_label: String,
    /// Its description in XAPI, as last seen.
    pub name_description: String,
    /// Seconds since 1970 when it was created.
    pub created: u64,
    /// Set while it is being deleted: nothing may be created in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// The fields of a newer version.
    #[serde(flatten)]
    unknown: Unknown,
}
record!(SrRecord);

impl SrRecord {
    /// A new SR.
    pub fn new(uuid: Uuid, name_label: &str, name_description: &str, created: u64) -> Self {
        SrRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            uuid,
            name_label: name_label.to_owned(),
            name_description: name_description.to_owned(),
            created,
            deleting: false,
            unknown: Unknown::default(),
        }
    }
}

/// An image of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// The name that it was made with.
    pub name: String,
    /// The id, which identifies it.
    pub id: String,
}

/// What holds a VDI's blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Volume {
    /// The head of an image: a disk.
    Head {
        /// The image.
        image: ImageRef,
    },
    /// A snapshot of an image. Several VDIs can be the same snapshot.
    Snapshot {
        /// The image. Its head need not be a VDI any more.
        image: ImageRef,
        /// The snapshot.
        snapshot: SnapshotRef,
    },
}

/// A snapshot of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// The name it was made with.
    pub name: String,
    /// The id, which identifies it.
    pub id: u64,
}

/// A snapshot from which clones of a disk are made, while the disk has not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseSnapshot {
    /// The snapshot, which is not a VDI.
    #[serde(flatten)]
    pub snapshot: SnapshotRef,
    /// The disk's epoch when it was taken.
    pub epoch: u64,
}

/// What a disk that forgets its changes is reset to when its VM starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetPoint {
    /// The image. Its head need not be the disk any more.
    pub image: ImageRef,
    /// The snapshot, which is not a VDI.
    pub snapshot: SnapshotRef,
    /// The length of the image's clone chain, in parents.
    pub depth: u32,
}

impl Volume {
    /// The image that holds the blocks.
    pub fn image(&self) -> &ImageRef {
        match self {
            Volume::Head { image } | Volume::Snapshot { image, .. } => image,
        }
    }

    /// The snapshot, if it is one.
    pub fn snapshot(&self) -> Option<&SnapshotRef> {
        match self {
            Volume::Head { .. } => None,
            Volume::Snapshot { snapshot, .. } => Some(snapshot),
        }
    }
}

/// A VDI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VdiRecord {
    version: u32,
    nonce: Uuid,
    /// The VDI's UUID, which is its location too.
    pub uuid: Uuid,
    /// What holds its blocks.
    pub volume: Volume,
    /// Virtual size in bytes.
    pub size: u64,
    /// What XAPI has about it.
    pub xapi: XapiFields,
    /// Which host may write to it.
    pub claim: Option<Claim>,
    /// Raised by each claim, resize and revert: shows whether the content can have changed since.
    pub epoch: u64,
    /// The base of its clones. See `vdi/base.rs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseSnapshot>,
    /// Its reset point. See `vdi/reset.rs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_point: Option<ResetPoint>,
    /// The length of its image's clone chain, in parents.
    #[serde(default)]
    pub depth: u32,
    /// Bytes that the disk takes, at most, at the last count. See `sr/utilisation.rs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<u64>,
    /// Whether its changes are tracked. See `cbt.rs`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cbt: bool,
    /// Whether XAPI has destroyed the data of this snapshot. See `vdi/data_destroy.rs`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub data_destroyed: bool,
    /// The fields of a newer version.
    #[serde(flatten)]
    unknown: Unknown,
}
record!(VdiRecord);

impl VdiRecord {
    /// A VDI without a claim.
    pub fn new(uuid: Uuid, volume: Volume, size: u64, xapi: XapiFields) -> Self {
        VdiRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            uuid,
            volume,
            size,
            xapi,
            claim: None,
            epoch: 0,
            base: None,
            reset_point: None,
            depth: 0,
            utilisation: None,
            cbt: false,
            data_destroyed: false,
            unknown: Unknown::default(),
        }
    }

    /// The snapshot behind it, if it is a snapshot whose changes are tracked.
    pub(crate) fn tracked_snapshot(&self) -> Option<&SnapshotRef> {
        self.volume.snapshot().filter(|_| self.cbt)
    }

    /// The same VDI with a clone chain of that length.
    pub fn with_depth(self, depth: u32) -> Self {
        VdiRecord { depth, ..self }
    }
}

/// A new VDI, as XAPI gets it.
impl From<VdiRecord> for ScannedVdi {
    fn from(record: VdiRecord) -> Self {
        ScannedVdi {
            uuid: record.uuid,
            size: record.size,
            utilisation: record.utilisation,
            xapi: record.xapi,
            cbt_enabled: record.cbt,
            known_to_xapi: false,
        }
    }
}

mod images;
mod prepared;

pub use images::{HiddenRecord, LineageRecord, OriginRef, TrashRecord};
pub use prepared::{Prepared, PreparedRecord};

/// The image-meta of an image. With it, the catalogue can be rebuilt from the images alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMeta {
    /// The version of this text.
    pub version: u32,
    /// The SR that the image belongs to.
    pub sr: Uuid,
    /// The VDI that it was made for.
    pub vdi: Uuid,
    /// What XAPI had about the VDI when the image was made.
    pub xapi: XapiFields,
    /// The name that the image had before it was taken over from another driver. See `adoption.rs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_from: Option<String>,
}

/// What an operation under way is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// See `vdi/create.rs`.
    CreateDisk {
        /// The name of the image that is being made.
        image_name: String,
    },
    /// See `vdi/snapshot.rs`.
    Snapshot {
        /// The image that the snapshot is taken of.
        image: ImageRef,
        /// The snapshot's name.
        snapshot_name: String,
        /// Whether the disk was to be paused for it. If so, it must be resumed.
        paused: bool,
    },
    /// See `vdi/clone.rs`.
    CloneDisk {
        /// The image that is cloned.
        image: ImageRef,
        /// The snapshot that the clone is made of.
        snapshot_name: String,
    },
    /// See `vdi/revert.rs`.
    Revert {
        /// The name of the image that is being made.
        image_name: String,
    },
    /// See `vdi/delete.rs`.
    DeleteSnapshot {
        /// The image.
        image: ImageRef,
        /// The snapshot.
        snapshot: SnapshotRef,
    },
    /// See `vdi/delete.rs`.
    DeleteDisk {
        /// The image that goes to the trash.
        image: ImageRef,
        /// The base of the disk's clones, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<SnapshotRef>,
    },
    /// See `vdi/resize.rs`.
    Grow {
        /// The image that grows.
        image: ImageRef,
        /// The size in bytes that was asked for.
        size: u64,
    },
}

impl Action {
    /// The name of the action in texts for administrators.
    pub fn describe(&self) -> &'static str {
        match self {
            Action::CreateDisk { .. } => "creation of the disk",
            Action::Snapshot { .. } => "snapshot of the disk",
            Action::CloneDisk { .. } => "cloning of the disk",
            Action::Revert { .. } => "revert of the disk",
            Action::DeleteSnapshot { .. } => "deletion of the snapshot",
            Action::DeleteDisk { .. } => "deletion of the disk",
            Action::Grow { .. } => "resize of the disk",
        }
    }
}

/// The journal's entry for an operation under way: which process does what, and how long its lease is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    version: u32,
    nonce: Uuid,
    /// The process that does it.
    pub owner: Owner,
    /// That process's address in the cluster, which is blocklisted before another process recovers the
    /// operation.
    pub address: String,
    /// Seconds since 1970, by the owner's clock, when the owner expects to be done. Other hosts do not use
    /// it, because clocks differ. It is for administrators and for older versions.
    pub lease_until: u64,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
}
record!(Intent);

impl Intent {
    /// A new entry.
    pub fn new(owner: Owner, address: String, lease_until: u64, action: Action) -> Self {
        Intent {
            version: VERSION,
            nonce: Uuid::new_v4(),
            owner,
            address,
            lease_until,
            action,
        }
    }
}
