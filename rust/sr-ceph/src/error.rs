//! Errors, in the words of an administrator.

mod advice;
mod by_hand;
mod cbt;
mod changed;
mod context;
mod growth;
mod ha;
mod ids;
mod image;
mod pools;
mod rollback;
mod template;
mod together;

use std::collections::BTreeMap;

use uuid::Uuid;

use self::advice::{advise_on_damage, advise_on_hold, describe_rollback};
use crate::hold::Hold;
use crate::host::HostError;
use crate::lease::LEASE_SECONDS;
use crate::pool::PoolError;
use crate::record::Unreadable;
use crate::size::Size;
use crate::usage::{NoRoom, UsageError};

pub(crate) use self::by_hand::list_again;
pub use self::by_hand::{ByHand, Migrating};
pub use self::cbt::CbtRefusal;
pub use self::changed::Changed;
pub(crate) use self::context::Context;
pub use self::growth::GrowthRefusal;
pub use self::ha::HaRefusal;
pub use self::image::ImageError;
use self::pools::{advise_on_pool, names};
pub use self::pools::{DataPoolError, KernelTooOld, NamespaceError, PoolGone};
pub use self::template::TemplateRefusal;
pub use self::together::NotTogether;

/// Result of an operation on an SR or a VDI.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on an SR or a VDI was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the Ceph cluster failed. The text has the call, the object and the errno.
    ///
    /// Fix: Run `smblock check` with the SR's device-config, and `ceph health detail` on a node of the
    /// cluster.
    #[error("{doing}: {source}")]
    Ceph {
        /// What this driver did.
        doing: String,
        /// What the cluster returned.
        source: PoolError,
    },
    /// A call to this host, or to XAPI, failed.
    ///
    /// Fix: See `dmesg` and /var/log/SMlog, and run `smblock check` with the SR's device-config.
    #[error("{doing}: {source}")]
    Host {
        /// What this driver did.
        doing: String,
        /// What the kernel or XAPI returned.
        source: HostError,
    },
    /// The cluster cannot be reached as that user.
    #[error("the Ceph cluster cannot be used: {source}{}. Run 'smblock check' with the same device-config on this host", .fix.as_ref().map(|fix| format!(". Fix: {fix}")).unwrap_or_default())]
    Unreachable {
        /// How to fix it, if that is known.
        fix: Option<String>,
        /// What is wrong.
        source: librbd::Error,
    },
    /// The cluster has no such pool.
    #[error("the Ceph cluster has no pool {pool}; it has: {}. {advice}", names(present), advice = advise_on_pool(pool, present))]
    PoolMissing {
        /// The name in the device-config.
        pool: String,
        /// The pools that exist, by id.
        present: BTreeMap<i64, String>,
    },
    /// The pool of the SR was renamed or deleted.
    #[error(transparent)]
    PoolGone(#[from] PoolGone),
    /// The pool is not enabled for RBD images.
    #[error("pool {pool} is not enabled for RBD: to allow VM disks in it, run 'ceph osd pool application enable {pool} rbd'. Nothing was changed")]
    PoolNotForRbd {
        /// The pool.
        pool: String,
    },
    /// The pool is erasure coded.
    #[error("pool {pool} is erasure coded, and cannot hold image headers: name a replicated pool with device-config:pool. Nothing was changed")]
    PoolErasure {
        /// The pool.
        pool: String,
    },
    /// The pool holds no such SR.
    #[error("pool {pool} holds no SR {sr}: its catalogue object smblock.sr.{sr} does not exist. Check device-config:pool and :namespace with 'xe sr-probe'. If the driver CephRBDSR has written the pool, run 'smblock adopt {sr}'. Nothing was changed")]
    SrMissing {
        /// The SR.
        sr: Uuid,
        /// The pool that was looked at.
        pool: String,
    },
    /// The pool holds that SR already.
    #[error("pool {pool} already holds SR {sr}: introduce it with 'xe sr-introduce' instead of creating it")]
    SrExists {
        /// The SR.
        sr: Uuid,
        /// The pool.
        pool: String,
    },
    /// The SR cannot be deleted yet.
    #[error("SR {sr} is not empty: {vdis} VDI(s), {operations} unfinished operation(s), {images} image(s) and {trashed} image(s) in the trash. Destroy its VDIs first, or forget the SR to keep them. Run 'smblock reclaim' to wait for space to be freed{outside}")]
    SrNotEmpty {
        /// The SR.
        sr: Uuid,
        /// VDIs in the catalogue.
        vdis: usize,
        /// Entries in the journal.
        operations: usize,
        /// Images with the SR's name prefix.
        images: usize,
        /// Images of the SR in the trash.
        trashed: usize,
        /// What to do about those of them that smblock has not moved there.
        outside: String,
    },
    /// The SR's disks are in use on this host.
    #[error("SR {sr} still has {device} mapped on this host for VDI {vdi}: unplug it first with 'xe vbd-unplug uuid=VBD', or shut down the VM")]
    SrInUse {
        /// The SR.
        sr: Uuid,
        /// The VDI, or the image's name if the VDI is unknown.
        vdi: String,
        /// The device.
        device: String,
    },
    /// Another process already frees the SR's space.
    #[error("process {pid} on host {host} already frees the space of SR {sr}. Run 'smblock reclaim --list' to see what is left")]
    WorkerRuns {
        /// The SR.
        sr: Uuid,
        /// The host's UUID.
        host: String,
        /// The process.
        pid: u32,
    },
    /// The SR is being deleted.
    #[error("SR {sr} is being deleted: nothing can be created in it. If the deletion was interrupted, unplug the SR and plug it again ('xe pbd-unplug uuid=PBD', then 'xe pbd-plug uuid=PBD')")]
    SrDeleting {
        /// The SR.
        sr: Uuid,
    },
    /// The catalogue holds no such VDI.
    #[error("SR {sr} has no VDI {vdi}. Run 'xe sr-scan uuid={sr}' to update XAPI's list of VDIs")]
    VdiMissing {
        /// The SR.
        sr: Uuid,
        /// The VDI.
        vdi: Uuid,
    },
    /// The catalogue holds that VDI already.
    #[error("SR {sr} already has a VDI {vdi}. Run 'xe sr-scan uuid={sr}' to list it in XAPI")]
    VdiExists {
        /// The SR.
        sr: Uuid,
        /// The VDI.
        vdi: Uuid,
    },
    /// Another host, or this one, uses the VDI.
    #[error("VDI {vdi} is in use: host {host} has claimed it for writing since {since}. {}", advise_on_hold(.hold, .host))]
    VdiInUse {
        /// The VDI.
        vdi: Uuid,
        /// The host's UUID.
        host: String,
        /// UTC time.
        since: String,
        /// Why the claim counts.
        hold: Hold,
    },
    /// An administrator must check something before the claim is released.
    #[error("the claim was not released: {source}. If you are sure that the host is powered off, run 'smblock release --force', which skips these checks. Two hosts that write to one disk corrupt it")]
    NotReleased {
        /// [`Error::VdiInUse`].
        source: Box<Error>,
    },
    /// The claim was taken while the image was being mapped.
    #[error("VDI {vdi}: this host lost its claim while {device} was being mapped: it was declared dead, or the claim was released. The device was removed. Try again")]
    ClaimLost {
        /// The VDI.
        vdi: Uuid,
        /// The device.
        device: String,
    },
    /// A dead host could not be cut off.
    #[error("host {host} is down, but its client {address} could not be added to the cluster's blocklist: {source}. Its claims were kept, because it may still write. Give the user the cap mon 'profile rbd', then try again")]
    FenceFailed {
        /// The host's UUID.
        host: String,
        /// The address of its kernel client.
        address: String,
        /// What the cluster returned.
        source: Box<PoolError>,
    },
    /// This host was cut off from the cluster, and a device of it is still open.
    #[error("VDI {vdi}: all I/O of {device} fails, because its kernel client {address} is on the cluster's blocklist. This host was declared dead. Shut down the VM that uses the disk and start it again, or reboot this host")]
    Blocklisted {
        /// The VDI.
        vdi: Uuid,
        /// The device.
        device: String,
        /// The address of the kernel client.
        address: String,
    },
    /// Another operation on the VDI is under way.
    #[error("VDI {vdi}: timed out while waiting: {what} by process {pid} on host {host} is under way. Try again")]
    VdiBusy {
        /// The VDI.
        vdi: Uuid,
        /// What is under way.
        what: &'static str,
        /// The host's UUID.
        host: String,
        /// The process.
        pid: u32,
    },
    /// The image behind a VDI cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image was changed outside smblock.
    #[error(transparent)]
    ByHand(Box<ByHand>),
    /// A size that a VDI cannot have.
    #[error("cannot create a VDI of {size} bytes: the size must be from 1 byte to {}", Size(*max))]
    BadSize {
        /// Bytes that were requested.
        size: i128,
        /// The largest size in bytes.
        max: u64,
    },
    /// A VDI cannot be made smaller.
    #[error(
        "VDI {vdi} has {} and cannot shrink to {}: shrinking would destroy data. Create a smaller VDI and copy the files to it", Size(*current), Size(*size)
    )]
    Shrink {
        /// The VDI.
        vdi: Uuid,
        /// Bytes it has.
        current: u64,
        /// Bytes that were requested.
        size: u64,
    },
    /// A snapshot cannot be written to.
    #[error("VDI {vdi} is a snapshot: it can be read and cloned, but not {refused}. For a disk with its content, run 'xe vdi-clone uuid={vdi}'")]
    ReadOnly {
        /// The VDI.
        vdi: Uuid,
        /// What was requested.
        refused: &'static str,
    },
    /// Only a disk can be reverted, and only to a snapshot.
    #[error("VDI {vdi} cannot be reverted to VDI {snapshot}: the first must be a disk and the second a snapshot; nothing was changed")]
    NotRevertible {
        /// The VDI that was to be reverted.
        vdi: Uuid,
        /// The VDI that it was to be reverted to.
        snapshot: Uuid,
    },
    /// With one more clone, no kernel could map the disk.
    #[error("VDI {vdi}: its image {image} has a clone chain of {depth} parents, and kernels map at most 16. Destroy its snapshots, then flatten it (which copies its data) with 'rbd flatten {pool}/{image}', or copy the VDI")]
    ChainTooLong {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The pool.
        pool: String,
        /// The number of parents.
        depth: u32,
    },
    /// With one more snapshot, no kernel could map the disk.
    #[error(
        "VDI {vdi} has {count} snapshots, also those that were destroyed and that clones need. The limit is 500, because kernels map disks with at most 510. Destroy snapshots with 'xe vdi-destroy', or their clones"
    )]
    TooManySnapshots {
        /// The VDI.
        vdi: Uuid,
        /// Snapshots of its image.
        count: usize,
    },
    /// The pool has too little free space.
    #[error("{consequence}: {source}")]
    NoRoom {
        /// What was not done, or was done in spite of it.
        consequence: String,
        /// The limit that is reached.
        source: NoRoom,
    },
    /// The cluster's report of its usage cannot be read.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// A catalogue value cannot be read.
    #[error("the catalogue of SR {sr} {state} at {key}: {source}. It was not changed{advice}", state = .source.state(), advice = advise_on_damage(.sr, .pool, .key, .source))]
    Damaged {
        /// The SR.
        sr: Uuid,
        /// The pool.
        pool: String,
        /// The omap key.
        key: String,
        /// What is wrong with it.
        source: Unreadable,
    },
    /// Another process changed what the operation works on.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// The pool for the data of images cannot keep them.
    #[error(transparent)]
    DataPool(#[from] DataPoolError),
    /// The namespace of the pool cannot be used.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// This host's kernel cannot map the images of the SR.
    #[error(transparent)]
    KernelTooOld(#[from] KernelTooOld),
    /// A disk that high availability uses, or one that it does not use, was refused.
    #[error(transparent)]
    Ha(#[from] HaRefusal),
    /// An image outside the SR, of which a disk was to be made, was refused.
    #[error(transparent)]
    Template(#[from] TemplateRefusal),
    /// A disk has no snapshot of the same instant as the VM's other disks.
    #[error(transparent)]
    NotTogether(#[from] NotTogether),
    /// Changed-block tracking has refused something.
    #[error(transparent)]
    Cbt(#[from] CbtRefusal),
    /// A disk in use cannot grow.
    #[error(transparent)]
    Growth(#[from] GrowthRefusal),
    /// A record cannot be written as JSON. This is a bug in smblock.
    #[error("{doing}: the image's metadata cannot be written as JSON: {source}. This is a bug: report it with /var/log/SMlog")]
    Encoding {
        /// What this driver did.
        doing: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// An operation failed, and so did its rollback.
    #[error("{first}. {rollback}. The next command on VDI {vdi} finishes the rollback: at once on this host, after {LEASE_SECONDS} s on another", rollback = describe_rollback(.first.id(), .second.as_ref().map(|e| (e.id(), e.to_string()))))]
    NotUndone {
        /// The VDI.
        vdi: Uuid,
        /// Why the operation failed.
        first: Box<Error>,
        /// Why the rollback failed. `None`: not tried, because the outcome of the operation is unknown.
        second: Option<Box<Error>>,
    },
}
