//! The host that a command runs on, as volumes of Crucible need it: server processes and NBD devices,
//! as a trait. The real one is [`super::dom0`]; the in-memory one is in [`super::memory`].

use std::any::Any;
use std::net::SocketAddr;
use std::path::PathBuf;

use crucible_host::target::TargetState;
use crucible_host::Volume;
use sr::host::Result;
use uuid::Uuid;

/// A host of the pool in one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostId {
    /// The host's UUID in XAPI.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// What is left of a volume's server on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Nothing: no process, no run folder, no port.
    Absent,
    /// A process runs, or may run.
    Running {
        /// The generation that it was started with.
        generation: u64,
        /// Whether it serves the volume: `Err` says what it does instead (it waits for targets, or
        /// another server has taken the volume from it).
        serving: std::result::Result<(), String>,
        /// What it does with each target, in their order; empty if it does not say.
        downstairs: Vec<String>,
    },
    /// No process, but what it left.
    Ended {
        /// How it ended, in words.
        how: String,
    },
}

/// A block device of this host that shows a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device node, `/dev/nbdN`.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// Whether it takes no writes.
    pub read_only: bool,
    /// Whether it still has its connection to a server.
    pub connected: bool,
}

/// This host.
pub trait Host {
    /// Which host this is.
    fn id(&self) -> &HostId;
    /// Seconds since 1970.
    fn now(&self) -> u64;
    /// Keeps every other process of this host from working on that volume until the answer is
    /// dropped.
    fn lock(&self, vdi: &Uuid) -> Result<Box<dyn Any>>;
    /// The same without waiting: `None` if another process works on the volume.
    fn try_lock(&self, vdi: &Uuid) -> Result<Option<Box<dyn Any>>>;
    /// What the volume's key is recognised by; `None` if the volume has no key.
    fn fingerprint(&self, volume: &Volume) -> Result<Option<String>>;

    /// Whether the server's program can be run here and listens where it is told to.
    fn check_program(&self) -> Result<()>;
    /// Whether this kernel can connect volumes; loads what it needs for that.
    fn check_kernel(&self) -> Result<()>;
    /// Whether each target answers, in their order.
    fn probe(&self, targets: &[SocketAddr]) -> Vec<TargetState>;
    /// What there is of a volume's server.
    fn server(&self, vdi: &Uuid) -> Result<Server>;
    /// Reserves free ports for a server and makes sure that the volume's key can be read. Starts
    /// nothing.
    fn reserve(&self, volume: &Volume) -> Result<()>;
    /// Starts a server on the reserved ports, with that generation, and waits until it serves the
    /// volume. If it does not, it may still run. The volume's key must be the one of that fingerprint.
    fn start(&self, volume: &Volume, generation: u64, fingerprint: Option<&str>) -> Result<()>;
    /// Stops the server. It is certainly gone afterwards, and cannot come back.
    fn stop(&self, vdi: &Uuid) -> Result<()>;
    /// Removes the run folder and frees the ports of a server that is gone.
    fn remove(&self, vdi: &Uuid) -> Result<()>;

    /// The volume's device.
    fn device(&self, vdi: &Uuid) -> Result<Option<Device>>;
    /// Connects a device to the volume's server.
    fn connect(&self, volume: &Volume, read_only: bool) -> Result<Device>;
    /// Flushes and removes the volume's device, if there is one. EBUSY: somebody has it open.
    fn disconnect(&self, vdi: &Uuid) -> Result<()>;
}
