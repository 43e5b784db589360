//! A snapshot that was taken for a later command. See `vdi/together.rs`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ImageRef, SnapshotRef, Unknown, VERSION};

/// What is prepared for a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Prepared {
    /// A snapshot, which is no VDI yet.
    Taken {
        /// The image.
        image: ImageRef,
        /// The snapshot. Its name is the UUID of the VDI that it becomes.
        snapshot: SnapshotRef,
        /// Its size in bytes.
        size: u64,
        /// The length of the image's clone chain, in parents.
        depth: u32,
    },
    /// A snapshot that is being removed.
    Removing {
        /// The image.
        image: ImageRef,
        /// The snapshot.
        snapshot: SnapshotRef,
    },
    /// No snapshot was taken.
    Failed {
        /// Why, as a text with the id of the error.
        reason: String,
    },
}

impl Prepared {
    /// The image with the snapshot, if there is one.
    pub fn snapshot(&self) -> Option<(&ImageRef, &SnapshotRef)> {
        match self {
            Prepared::Taken {
                image, snapshot, ..
            }
            | Prepared::Removing { image, snapshot } => Some((image, snapshot)),
            Prepared::Failed { .. } => None,
        }
    }
}

/// What a command has prepared for a disk, for a later command of the same task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedRecord {
    version: u32,
    nonce: Uuid,
    /// XAPI's reference of the task: the snapshot of a VM.
    pub task: String,
    /// The UUID of the XAPI pool that has the task. `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What is prepared.
    pub prepared: Prepared,
    /// The fields of a newer version.
    #[serde(flatten)]
    unknown: Unknown,
}
record!(PreparedRecord);

impl PreparedRecord {
    /// A new record.
    pub fn new(task: &str, pool: Option<String>, prepared: Prepared) -> Self {
        PreparedRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            task: task.to_owned(),
            pool,
            prepared,
            unknown: Unknown::default(),
        }
    }
}
