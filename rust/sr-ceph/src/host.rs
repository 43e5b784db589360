//! The host that a command runs on, as a trait: its identity, its processes, its clock and its
//! block devices. The real one stands on the crate `hostdev` ([`crate::dom0`]); the in-memory one
//! is in `crate::memory`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use sr::host::{HostError, HostReply, Result};

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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Map with a kernel client of its own, which fetches the newest osdmap before anything else:
    /// what was blocklisted before cannot write any more when this device is first read.
    pub noshare: bool,
    /// The VDI that the device is for, if it must have a device of its own: several VDIs can be
    /// one snapshot.
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
    /// It is a member, and it was declared dead: by HA, or by an administrator. A host that did not
    /// send a heartbeat for long is not.
    DeclaredDead,
    /// There is no such host in this pool.
    Unknown,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// This host.
    Host,
    /// The SR.
    Sr,
}

/// A message of XAPI to the administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// XAPI's name of the message.
    pub name: &'static str,
    /// XAPI's priority: 2 if a service may fail, 3 for a warning.
    pub priority: u8,
    /// What it is about.
    pub subject: Subject,
    /// The SR.
    pub sr: Uuid,
    /// What happened, and what to do.
    pub text: String,
}

/// This host.
pub trait Host {
    /// The process that acts, on this host.
    fn owner(&self) -> &Owner;
    /// Seconds since 1970.
    fn now(&self) -> u64;
    /// Waits that many milliseconds.
    fn pause(&self, milliseconds: u64);
    /// Whether a process of this host and this boot is gone. Always `false` for other hosts.
    fn is_gone(&self, owner: &Owner) -> bool;
    /// Seconds since this host first found `value` under `key`, without another value in between,
    /// in this boot. Counts by a clock that is never set.
    fn seen_for(&self, key: &str, value: &str) -> Result<u64>;

    /// Keeps a text under a name on this host, also across a boot. `None` removes it.
    fn note(&self, name: &str, text: Option<&str>) -> Result<()>;
    /// The text that is kept under a name.
    fn noted(&self, name: &str) -> Result<Option<String>>;

    /// The UUID of the XAPI pool that this host is a member of.
    fn pool(&self) -> Result<String>;
    /// What XAPI has about a host.
    fn membership(&self, host: &str) -> Result<Membership>;
    /// Asks another host whether it uses a VDI. `None`: it cannot be asked.
    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>>;
    /// Removes XAPI's note that this host was declared dead.
    fn revive(&self) -> Result<()>;

    /// Raises an alert, unless this host has raised one in this boot for each of the `facts`.
    fn alert(&self, facts: &[String], alert: &Alert) -> Result<()>;

    /// Holds back the I/O of a disk on whichever host of the pool it runs. Not in use: nothing.
    fn pause_disk(&self, vdi: &Uuid) -> Result<()>;
    /// Lets a paused disk go on.
    fn resume_disk(&self, vdi: &Uuid) -> Result<()>;

    /// Feature bits that this kernel can map; `None` where it does not say (before 4.11).
    fn supported_features(&self) -> Result<Option<u64>>;
    /// Whether this kernel watches an image also when it maps it read-only (Linux before 5.5).
    fn watches_readers(&self) -> Result<bool>;
    /// Everything that this host has mapped, of any cluster.
    fn mappings(&self) -> Result<Vec<Mapped>>;
    /// Maps an image. Returns the existing device if the same one is mapped already, with the same
    /// label.
    fn map(&self, request: &MapRequest) -> Result<Mapped>;
    /// Removes a device, and tries for so many seconds if it is busy. EBUSY: it is open.
    fn unmap(&self, mapped: &Mapped, seconds: u64) -> Result<()>;
}
