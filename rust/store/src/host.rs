//! The host that a command runs on, as a trait: its identity, its processes, its clock and its
//! block devices. The real one stands on the crate `hostdev` ([`crate::dom0`]); the in-memory one
//! is in [`crate::memory`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A process on a host of the pool, as others can recognise it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The host's UUID in XAPI.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id` when the process started.
    pub boot_id: String,
    /// Process id.
    pub pid: u32,
    /// Start time of the process in clock ticks since boot, since pids are used again.
    pub started: u64,
}

/// Which image, or which snapshot of it, a device shows. Names play no part: a mapping remembers
/// the name that it was made with, which another image may carry by now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageKey {
    /// The cluster's fsid.
    pub fsid: String,
    /// The pool's id.
    pub pool_id: i64,
    /// The image's id.
    pub image_id: String,
    /// The snapshot's id, or `None` for the head.
    pub snap_id: Option<u64>,
}

/// What to map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRequest {
    /// Identity, which the resulting device is checked against.
    pub key: ImageKey,
    /// Name of the pool.
    pub pool_name: String,
    /// Name of the image.
    pub image_name: String,
    /// Name of the snapshot, for a snapshot.
    pub snap_name: Option<String>,
    /// Map read-only.
    pub read_only: bool,
}

/// A device of this host that shows an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The device node, `/dev/rbdN`.
    pub device: PathBuf,
    /// What it shows.
    pub key: ImageKey,
    /// The name that the image had when it was mapped.
    pub image_name: String,
    /// Size in bytes.
    pub size: u64,
    /// Whether it was mapped read-only.
    pub read_only: bool,
    /// The address of the kernel client that serves it.
    pub client_address: String,
    /// The global id of that client.
    pub client_id: u64,
}

/// What a call to this host's kernel answers when it did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// What failed, on which device or image, and what to do about it.
    pub message: String,
    /// Positive errno, where there was one.
    pub errno: Option<i32>,
}

impl HostError {
    /// Somebody has the device open.
    pub fn is_busy(&self) -> bool {
        self.errno == Some(nix::libc::EBUSY)
    }

    /// Nobody can say whether the call was applied, or still will be.
    pub fn is_unknown(&self) -> bool {
        self.errno == Some(nix::libc::ETIMEDOUT)
    }
}

/// Result of a call to this host.
pub type Result<T> = std::result::Result<T, HostError>;

/// This host.
pub trait Host {
    /// The process that acts, on this host.
    fn owner(&self) -> &Owner;
    /// Seconds since 1970.
    fn now(&self) -> u64;
    /// Waits that many milliseconds.
    fn pause(&self, milliseconds: u64);
    /// Whether a process of this host and this boot is gone. Of another host: unknown, `false`.
    fn is_gone(&self, owner: &Owner) -> bool;
    /// Whether XAPI has declared that host dead.
    fn is_declared_dead(&self, host: &str) -> Result<bool>;

    /// Holds back the I/O of a disk on whichever host of the pool it runs. Not in use: nothing.
    fn pause_disk(&self, vdi: &Uuid) -> Result<()>;
    /// Lets a paused disk go on.
    fn resume_disk(&self, vdi: &Uuid) -> Result<()>;

    /// Feature bits that this kernel can map; `None` where it does not say (before 4.11).
    fn supported_features(&self) -> Result<Option<u64>>;
    /// Everything that this host has mapped, of any cluster.
    fn mappings(&self) -> Result<Vec<Mapped>>;
    /// Maps an image; answers the existing device where the same one is mapped already.
    fn map(&self, request: &MapRequest) -> Result<Mapped>;
    /// Removes a device. EBUSY: somebody has it open.
    fn unmap(&self, mapped: &Mapped) -> Result<()>;
}
