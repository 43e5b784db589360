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

/// The state of a volume's server on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Nothing: no process, no runtime directory, no port.
    Absent,
    /// A process runs, or may run.
    Running {
        /// The generation that it was started with.
        generation: u64,
        /// Whether it serves the volume. `Err` is what it does instead: it waits for targets, or another
        /// server has the volume.
        serving: std::result::Result<(), String>,
        /// The state of each target, in their order. Empty if the server does not report it.
        downstairs: Vec<String>,
    },
    /// No process. Its runtime directory or its ports are left.
    Ended {
        /// How it ended, as text.
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
    /// Whether it refuses writes.
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
    /// Locks the volume on this host until the returned lock is dropped. Waits for the lock.
    fn lock(&self, vdi: &Uuid) -> Result<Box<dyn Any>>;
    /// Locks the volume without waiting. `None` if another process has the lock.
    fn try_lock(&self, vdi: &Uuid) -> Result<Option<Box<dyn Any>>>;
    /// Returns the fingerprint of the volume's key, or `None` if the volume has no key.
    fn fingerprint(&self, volume: &Volume) -> Result<Option<String>>;

    /// Checks that the server's program can be run and supports `--address`.
    fn check_program(&self) -> Result<()>;
    /// Checks that this kernel can connect volumes. Loads the kernel module nbd.
    fn check_kernel(&self) -> Result<()>;
    /// Returns the state of each target, in their order.
    fn probe(&self, targets: &[SocketAddr]) -> Vec<TargetState>;
    /// Returns the state of a volume's server.
    fn server(&self, vdi: &Uuid) -> Result<Server>;
    /// Reserves free ports for a server, and checks that the volume's key can be read. Starts no server.
    fn reserve(&self, volume: &Volume) -> Result<()>;
    /// Starts a server on the reserved ports with that generation, and waits until it serves the volume.
    /// After an error the server may still run. The volume's key must have that fingerprint.
    fn start(&self, volume: &Volume, generation: u64, fingerprint: Option<&str>) -> Result<()>;
    /// Stops the server. After `Ok` it is certainly gone, and cannot start again.
    fn stop(&self, vdi: &Uuid) -> Result<()>;
    /// Removes the runtime directory and frees the ports of a server that is gone.
    fn remove(&self, vdi: &Uuid) -> Result<()>;

    /// Returns the volume's device, if it has one.
    fn device(&self, vdi: &Uuid) -> Result<Option<Device>>;
    /// Connects a device to the volume's server.
    fn connect(&self, volume: &Volume, read_only: bool) -> Result<Device>;
    /// Flushes and removes the volume's device, if it has one. Errno `EBUSY` if a process has it open.
    fn disconnect(&self, vdi: &Uuid) -> Result<()>;
}
