//! The host that a command runs on, as a trait: its identity, its processes, its clock and its block devices.
//! [`crate::dom0`] is the real host, on the crate `hostdev`. `crate::memory` has a host in memory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sr::alarm::Report;
use uuid::Uuid;

pub use hostdev::KernelRelease;
pub use sr::host::{HostError, HostReply, Result};

/// A process on a host of the pool. Other processes can identify it later.
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

/// The image, or the snapshot of it, that a device shows. Names do not count: a mapping keeps the name that
/// it was made with, and another image may have that name now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageKey {
    /// The cluster's fsid.
    pub fsid: String,
    /// The pool's id.
    pub pool_id: i64,
    /// The RADOS namespace; empty for the default one. Notes of version 0.1.0 have none.
    #[serde(default)]
    pub namespace: String,
    /// The image's id.
    pub image_id: String,
    /// The snapshot's id, or `None` for the head.
    pub snap_id: Option<u64>,
}

/// What to map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRequest {
    /// The identity that the new device is compared with.
    pub key: ImageKey,
    /// Name of the pool.
    pub pool_name: String,
    /// Name of the image.
    pub image_name: String,
    /// Name of the snapshot, for a snapshot.
    pub snap_name: Option<String>,
    /// Map read-only.
    pub read_only: bool,
    /// Map with a kernel client of its own, which fetches the newest osdmap first: clients that were
    /// blocklisted before cannot write any more when this device is first read.
    pub noshare: bool,
    /// The VDI that the device is for, if it must not share it: several VDIs can be one snapshot.
    pub label: Option<String>,
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
    /// The VDI that it was mapped for, as [`MapRequest::label`].
    pub label: Option<String>,
}

/// What XAPI's database has about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It is a member of this pool.
    Member,
    /// It is a member, and HA or an administrator declared it dead. A missing heartbeat is not a declaration.
    DeclaredDead,
    /// There is no such host in this pool.
    Unknown,
}

/// This host.
pub trait Host {
    /// This process, on this host.
    fn owner(&self) -> &Owner;
    /// Seconds since 1970.
    fn now(&self) -> u64;
    /// Waits that many milliseconds.
    fn sleep(&self, milliseconds: u64);
    /// Whether a process of this host and this boot is gone. Always `false` for other hosts.
    fn is_gone(&self, owner: &Owner) -> bool;
    /// For how many seconds this host has found `value` under `key`, without another value in between, in
    /// this boot. By a clock that is never set.
    fn seen_for(&self, key: &str, value: &str) -> Result<u64>;

    /// Keeps a text under a name on this host, also after a reboot. `None` removes it.
    fn note(&self, name: &str, text: Option<&str>) -> Result<()>;
    /// Returns the text that is kept under a name.
    fn noted(&self, name: &str) -> Result<Option<String>>;

    /// The UUID of the XAPI pool that this host is a member of.
    fn pool(&self) -> Result<String>;
    /// What XAPI has about a host.
    fn membership(&self, host: &str) -> Result<Membership>;
    /// Asks another host whether it uses a VDI. `None`: it cannot be asked.
    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>>;
    /// Whether XAPI has asked for growth of a VDI that may be in use.
    fn grows_in_use(&self, vdi: &Uuid) -> Result<bool>;
    /// Removes XAPI's note that this host was declared dead.
    fn revive(&self) -> Result<()>;

    /// Raises and clears alarms in XAPI.
    fn alarm(&self, report: &Report) -> Result<()>;

    /// Pauses the I/O of disks at once, on the hosts of the pool that run them. Returns a result for each, in
    /// their order. Does nothing for a disk that is not in use.
    fn pause_disks(&self, vdis: &[Uuid]) -> Vec<Result<()>>;
    /// Resumes paused disks at once. Returns for each whether it was still paused: `false` if it was resumed
    /// before, or never paused.
    fn resume_disks(&self, vdis: &[Uuid]) -> Vec<Result<bool>>;
    /// Whether a task of XAPI has ended. XAPI also forgets tasks that have ended.
    fn is_task_over(&self, task: &str) -> Result<bool>;

    /// [`Host::pause_disks`] for one disk.
    fn pause_disk(&self, vdi: &Uuid) -> Result<()> {
        one(self.pause_disks(std::slice::from_ref(vdi)))
    }
    /// [`Host::resume_disks`] for one disk.
    fn resume_disk(&self, vdi: &Uuid) -> Result<bool> {
        one(self.resume_disks(std::slice::from_ref(vdi)))
    }

    /// The release of this host's kernel.
    fn kernel(&self) -> Result<KernelRelease>;
    /// The feature bits that this kernel can map. `None`: it does not report them (before Linux 4.11).
    fn supported_features(&self) -> Result<Option<u64>>;
    /// Whether this kernel also watches an image that it maps read-only (Linux before 5.5).
    fn watches_readers(&self) -> Result<bool>;
    /// Returns all devices that this host has mapped, of any cluster.
    fn mappings(&self) -> Result<Vec<Mapped>>;
    /// Maps an image. Returns the existing device if the same one is mapped already, with the same
    /// label.
    fn map(&self, request: &MapRequest) -> Result<Mapped>;
    /// Removes a device. If it is busy, retries for so many seconds. EBUSY: it is open.
    fn unmap(&self, mapped: &Mapped, seconds: u64) -> Result<()>;
}

/// The result for one disk.
fn one<T>(mut results: Vec<Result<T>>) -> Result<T> {
    results.pop().unwrap_or_else(|| {
        Err(HostError {
            message: "no result".to_owned(),
            errno: None,
            id: None,
        })
    })
}
