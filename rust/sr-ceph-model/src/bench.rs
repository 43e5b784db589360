//! What differs between the model in memory and a real cluster.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

use sr_ceph::host::{Host, Mapped};
use sr_ceph::pool::Pool;
use sr_ceph::record::VdiRecord;
use uuid::Uuid;

use crate::states::Content;

/// The number of blocks of a VDI that are written and compared.
pub const BLOCKS: usize = 3;

/// The effect of an event on the VMs and the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The VMs continue, and the hosts' devices are the same.
    None,
    /// A host has mapped an image out of band.
    Mapped,
    /// The VMs of this host are gone.
    PowerLoss(usize),
    /// This host refuses to map an image. That is right if a VM has the image open for reading.
    MapRefused(usize),
}

/// An SR, and the two hosts that use it.
pub trait Bench {
    /// A process of the driver: a client of the pool, on a host.
    type Process: 'static;
    /// What only this bench can let happen.
    type Event: Debug + Clone;
    /// The number of VDIs that can exist at a time.
    const VDIS: usize;
    /// The size of a new disk, in units.
    const NEW: u64;
    /// The unit of sizes, in bytes.
    const UNIT: u64;
    /// Whether a new VDI gets the UUID of a deleted one.
    const REUSES_UUIDS: bool;

    /// The SR's UUID.
    fn sr(&self) -> Uuid;
    /// A client of the pool that observes it.
    fn observer(&self) -> &dyn Pool;
    /// The name of a host.
    fn host(&self, host: usize) -> &str;
    /// Starts a process on a host.
    fn start(&self, host: usize) -> Self::Process;
    /// The pool and the host, as this process sees them.
    fn sides(process: &Self::Process) -> (&dyn Pool, &dyn Host);
    /// Ends a process.
    fn stop(&self, process: &Self::Process);
    /// Both hosts read the journal, then time passes for longer than a lease.
    fn let_leases_end(&self);
    /// Returns the content of a VDI.
    fn content(&self, vdi: &VdiRecord) -> Content;
    /// A VM on this host writes to its disk.
    fn write(&self, host: usize, vdi: &VdiRecord, content: &Content);
    /// Returns the devices of a host's kernel.
    fn devices(&self, host: usize) -> Vec<Mapped>;
    /// Returns the disks whose I/O is paused.
    fn paused(&self) -> BTreeSet<Uuid>;
    /// Starts or stops a VM that writes to the disk, for hosts that are asked about it.
    fn set_used(&self, host: usize, vdi: &Uuid, used: bool);
    /// A VM opens or closes a device.
    fn set_open(&self, host: usize, device: &Path, open: bool);
    /// Another program opens the image with librbd, and keeps it open.
    fn open_image(&self, vdi: &VdiRecord);
    /// The other programs end.
    fn close_images(&self);
    /// Lets an event happen. `record` returns the record of a VDI's number.
    fn happen(&self, event: &Self::Event, record: &dyn Fn(usize) -> Option<VdiRecord>) -> Effect;
    /// Checks the pool when no operation is under way.
    fn check_settled(&self);
    /// Deletes the SR, whose VDIs are deleted, and checks that nothing is left.
    fn delete_sr(self);
}
