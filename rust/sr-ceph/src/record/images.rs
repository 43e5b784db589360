//! What the catalogue holds about images whose head is no VDI any more.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ImageRef, SnapshotRef, Unknown, VERSION};

/// A hidden image: its head is no VDI any more, and it is kept for its snapshots and clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenRecord {
    version: u32,
    nonce: Uuid,
    /// The image.
    pub image: ImageRef,
    /// The size in bytes that its head had before its data was freed, if it is a clone. See
    /// `sr/reclaim/hidden.rs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The fields of a newer version.
    #[serde(flatten)]
    unknown: Unknown,
}
record!(HiddenRecord);

impl HiddenRecord {
    /// A record for that image.
    pub fn new(image: ImageRef) -> Self {
        HiddenRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            image,
            size: None,
            unknown: Unknown::default(),
        }
    }
}

/// The mark of an image that smblock has moved to the trash. smblock does not touch an image there without a
/// mark. See `sr/reclaim/trash.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashRecord {
    version: u32,
    nonce: Uuid,
    /// The image, with the name that it had in the catalogue.
    pub image: ImageRef,
}
record!(TrashRecord);

impl TrashRecord {
    /// A mark for that image.
    pub fn new(image: ImageRef) -> Self {
        TrashRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            image,
        }
    }
}

/// A snapshot of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRef {
    /// The image.
    pub image: ImageRef,
    /// The snapshot.
    pub snapshot: SnapshotRef,
}

/// Where the content of an image comes from: it was cloned from a snapshot whose changes are tracked. See
/// `cbt.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageRecord {
    version: u32,
    nonce: Uuid,
    /// The image.
    pub image: ImageRef,
    /// The snapshot of the image that was taken before its first change. It has the content of `origin`.
    pub birth: SnapshotRef,
    /// The snapshot that the image was cloned from.
    pub origin: OriginRef,
    /// The fields of a newer version.
    #[serde(flatten)]
    unknown: Unknown,
}
record!(LineageRecord);

impl LineageRecord {
    /// A record for that image.
    pub fn new(image: ImageRef, birth: SnapshotRef, origin: OriginRef) -> Self {
        LineageRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            image,
            birth,
            origin,
            unknown: Unknown::default(),
        }
    }
}
