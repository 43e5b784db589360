//! The operations of an SR and its VDIs that a storage manager needs, for every SR type.
//!
//! [`Engine`] is the border between fronts and SR types. A front translates the calls of one storage manager:
//! `rust/py` and `drivers/` are the front of SM. An SR type implements [`Engine`] in a crate of its own, and
//! states what it supports in an [`SrType`]. Decisions that every front would make in the same way are made
//! by the engine.

mod adoption;
mod capability;
mod error;
mod findings;
mod health;
mod overview;
mod sr_type;

use std::path::PathBuf;

use uuid::Uuid;

use crate::alarm::{self, not_shared, PoolFacts, Report};
use crate::check::CheckLine;
use crate::device_config::Datapath;
use crate::doctor::Facts;
use crate::finding::Finding;
use crate::xapi::{ScannedVdi, XapiFields, XapiVdi};

pub use self::adoption::{
    AdoptedDisk, AdoptedSnapshot, Adoption, AdoptionFacts, AdoptionRequest, Remark, StaleKey,
};
pub use self::capability::Capability;
pub use self::error::{EngineError, Error, Result};
pub use self::findings::{FoundSr, Pending, Place, Probe, Scan, State, Step, Unit, Usage};
pub use self::health::{Health, Look};
pub use self::overview::{Backlog, Operation, Overview, VdiPlace};
pub use self::sr_type::{ConfigKey, SrType};
pub use crate::device_config::Pairs;

/// The name of an SR in XAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrName<'a> {
    /// `name_label`
    pub label: &'a str,
    /// `name_description`
    pub description: &'a str,
}

/// What happens to the changes of a disk when its VM starts: XAPI's `on_boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBoot {
    /// The disk keeps its changes.
    Persist,
    /// The disk forgets its changes.
    Reset,
}

impl OnBoot {
    /// Reads XAPI's value. Every value except `reset` is [`OnBoot::Persist`].
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "reset" => Self::Reset,
            _ => Self::Persist,
        }
    }
}

/// One SR of any type, as one process on one host sees it.
///
/// Making an engine checks the device-config and opens nothing. Each call has deadlines of its own. All
/// sizes are in bytes. A method that has a default body needs the [`Capability`] that its error names.
///
/// # Errors
/// Each operation returns [`Error::Failed`] with the error of its SR type, and [`Error::Unsupported`] if
/// the SR type does not have the operation.
pub trait Engine: Send + Sync {
    /// What the SR type supports.
    fn sr_type(&self) -> &'static SrType;

    /// How disks are connected to guests.
    fn datapath(&self) -> Datapath;

    /// Refuses a datapath that the storage manager of this host does not have. `served` are the names of
    /// those that it has.
    ///
    /// # Errors
    /// The device-config asks for another one.
    fn require_datapath(&self, served: &[String]) -> Result<()> {
        Ok(self.datapath().require(served)?)
    }

    /// Creates the SR. `datapaths`: as in [`Engine::require_datapath`].
    fn create(&self, name: &SrName<'_>, datapaths: &[String]) -> Result<()>;

    /// Deletes the SR, which must be empty.
    fn delete(&self) -> Result<()>;

    /// Plugs the SR on this host. `datapaths`: as in [`Engine::require_datapath`].
    fn attach(&self, datapaths: &[String]) -> Result<()>;

    /// Unplugs the SR on this host. Refused while a disk of it is in use here.
    fn detach(&self) -> Result<()>;

    /// Looks at what is cheap to look at. Changes nothing of the SR. An SR that cannot be read is a finding.
    fn look(&self) -> Look;

    /// Raises and clears alarms in XAPI.
    fn alarm(&self, report: &Report) -> Result<()>;

    /// Looks at the SR, and raises and clears alarms. SM's timer calls it on each host every ten minutes.
    fn check(&self, facts: PoolFacts) -> Result<()> {
        let Look {
            health,
            mut findings,
            mut looked_at,
        } = self.look();
        findings.extend(not_shared(&health.sr, &facts));
        looked_at.push(&alarm::table::NOT_SHARED);
        self.alarm(&Report {
            sr: health.sr,
            looked_at,
            findings,
            facts: Some(facts),
        })
    }

    /// Raises an alarm if only one host of the pool can use the SR.
    fn warn_unless_shared(&self, sr: Uuid, facts: &PoolFacts) -> Result<()> {
        match not_shared(&sr, facts) {
            Some(found) => self.alarm(&Report::event(sr, vec![found])),
            None => Ok(()),
        }
    }

    /// Checks each part that the SR needs on this host, also before the SR exists. `others`: the
    /// device-configs of this host's other SRs of the same type.
    fn preflight(&self, datapaths: &[String], others: &[Pairs]) -> Result<Vec<CheckLine>>;

    /// Looks for everything that is wrong with the SR, from this host: the parts of [`Engine::preflight`], and the SR
    /// compared with its storage, with XAPI and with this host. `facts`: what XAPI and SM have about the SR.
    /// Changes nothing. An SR that cannot be read is a finding.
    fn doctor(&self, datapaths: &[String], others: &[Pairs], facts: &Facts) -> Vec<Finding>;

    /// Returns the SR on one screen.
    fn overview(&self) -> Result<Overview>;

    /// Returns where each VDI of the SR is.
    fn places(&self) -> Result<Vec<VdiPlace>>;

    /// Repairs what the next scan and the next plug repair, and nothing else. Can be repeated.
    fn repair(&self) -> Result<()>;

    /// Finds SRs, or places where one can be created.
    fn probe(&self) -> Result<Probe> {
        Err(self.sr_type().lacks(Capability::SrProbe))
    }

    /// Lists all VDIs of the SR. `known`: every VDI that XAPI has in this SR.
    fn scan(&self, known: &[XapiVdi]) -> Result<Scan>;

    /// Copies the SR's name from XAPI. Returns how full the SR is.
    fn update(&self, name: &SrName<'_>) -> Result<Usage>;

    /// Records that a host is dead and cuts it off from the SR's disks. Returns the addresses that were
    /// cut off.
    fn declare_dead(&self, host: &str, reason: &str) -> Result<Vec<String>> {
        let _ = (host, reason);
        Err(self.sr_type().lacks(Capability::Fence))
    }

    /// Cuts off every client of the IP addresses of those clients, also later ones. Returns what was cut off.
    fn blocklist_hosts(&self, addresses: &[String]) -> Result<Vec<String>> {
        let _ = addresses;
        Err(self.sr_type().lacks(Capability::Fence))
    }

    /// Returns whether an operation of this engine has left space to be freed by [`Engine::reclaim`].
    fn needs_worker(&self) -> bool {
        false
    }

    /// Frees all space that can be freed now. Calls `report` for each step. Returns how many steps failed.
    fn reclaim(&self, report: &mut dyn FnMut(&Step<'_>)) -> Result<usize> {
        let _ = report;
        Err(self.sr_type().lacks(Capability::Reclaim))
    }

    /// Returns what [`Engine::reclaim`] has to do, and what waits for something else.
    fn pending(&self) -> Result<Vec<Pending>> {
        Err(self.sr_type().lacks(Capability::Reclaim))
    }

    /// Takes over the disks of another driver in the SR's storage, or gives them back. Returns what was done,
    /// or would be, and what prevents it.
    fn adopt(&self, request: &AdoptionRequest) -> Result<Adoption> {
        let _ = request;
        Err(self.sr_type().lacks(Capability::Adopt))
    }

    /// Creates a disk of at least `size` bytes. `xapi`: what XAPI has about it. Returns the disk's size.
    fn create_vdi(&self, vdi: &Uuid, size: i128, xapi: XapiFields) -> Result<u64>;

    /// Deletes a VDI. One that does not exist counts as deleted.
    fn delete_vdi(&self, vdi: &Uuid) -> Result<()>;

    /// Returns a VDI that the SR has and XAPI does not.
    fn introduce_vdi(&self, vdi: &Uuid) -> Result<ScannedVdi>;

    /// Copies what XAPI has about VDIs.
    fn update_vdis(&self, vdis: &[XapiVdi]) -> Result<()>;

    /// Creates the disk `new` with the content that a VDI has now. `on_boot` is that of the VDI.
    fn clone_vdi(&self, vdi: &Uuid, new: &Uuid, on_boot: OnBoot) -> Result<ScannedVdi> {
        let _ = (vdi, new, on_boot);
        Err(self.sr_type().lacks(Capability::VdiClone))
    }

    /// Takes the snapshot `new` of a VDI.
    fn snapshot_vdi(&self, vdi: &Uuid, new: &Uuid) -> Result<ScannedVdi> {
        let _ = (vdi, new);
        Err(self.sr_type().lacks(Capability::VdiSnapshot))
    }

    /// Gives a disk the content of a snapshot. Returns the disk's size.
    fn revert_vdi(&self, vdi: &Uuid, snapshot: &Uuid) -> Result<u64> {
        let _ = (vdi, snapshot);
        Err(self.sr_type().lacks(Capability::VdiRevert))
    }

    /// Makes a disk at least `size` bytes large. Returns the disk's size.
    fn resize_vdi(&self, vdi: &Uuid, size: i128) -> Result<u64> {
        let _ = (vdi, size);
        Err(self.sr_type().lacks(Capability::VdiResize))
    }

    /// Prepares a disk for the start of its VM.
    fn begin_epoch(&self, vdi: &Uuid, on_boot: OnBoot) -> Result<()> {
        let _ = vdi;
        match on_boot {
            OnBoot::Persist => Ok(()),
            OnBoot::Reset => Err(self.sr_type().lacks(Capability::VdiResetOnBoot)),
        }
    }

    /// Connects a VDI to this host. Returns its block device, the same one at each further call.
    fn activate_vdi(&self, vdi: &Uuid, writable: bool) -> Result<PathBuf>;

    /// Disconnects a VDI from this host. One that is not connected counts as disconnected.
    fn deactivate_vdi(&self, vdi: &Uuid) -> Result<()>;

    /// Checks that [`Engine::attach_ha_vdi`] can attach a disk.
    fn require_ha_vdi(&self, vdi: &Uuid) -> Result<()> {
        let _ = vdi;
        Err(self.sr_type().lacks(Capability::VdiGenerateConfig))
    }

    /// Connects a disk of high availability to this host beside all others, without the storage manager's database.
    /// Returns its block device, the same one at each further call. [`Engine::deactivate_vdi`] disconnects it.
    fn attach_ha_vdi(&self, vdi: &Uuid) -> Result<PathBuf> {
        let _ = vdi;
        Err(self.sr_type().lacks(Capability::VdiGenerateConfig))
    }

    /// Switches the tracking of a disk's changes on or off.
    fn track_changes(&self, vdi: &Uuid, tracked: bool) -> Result<()> {
        let _ = (vdi, tracked);
        Err(self.sr_type().lacks(Capability::VdiConfigCbt))
    }

    /// Destroys the data of a tracked snapshot, so that only its changes can be listed.
    fn destroy_data(&self, vdi: &Uuid) -> Result<()> {
        let _ = vdi;
        Err(self.sr_type().lacks(Capability::VdiConfigCbt))
    }

    /// Returns the blocks of 64 KiB that differ between two VDIs: one bit for each block of `to`, the highest bit of
    /// a byte first, in whole words of 32 bits.
    fn changed_blocks(&self, from: &Uuid, to: &Uuid) -> Result<Vec<u8>> {
        let _ = (from, to);
        Err(self.sr_type().lacks(Capability::VdiConfigCbt))
    }

    /// Releases the claim on a VDI, of any host. `force` does not check whether that host still uses the
    /// VDI. Returns that host's UUID.
    fn release_vdi(&self, vdi: &Uuid, force: bool) -> Result<Option<String>>;

    /// Removes what a killed command of this host left of a VDI. Returns whether this host uses the VDI. The
    /// caller holds SM's lock of the VDI, and has checked that no tapdisk serves it.
    fn reconcile_vdi(&self, vdi: &Uuid) -> Result<bool>;

    /// Finishes or undoes an operation on a VDI that a dead process left unfinished. Does nothing for an SR
    /// type without such operations.
    fn recover_vdi(&self, vdi: &Uuid) -> Result<()> {
        let _ = vdi;
        Ok(())
    }

    /// Forgets what identifies the storage behind a VDI. The next activation records what it finds.
    fn accept_vdi(&self, vdi: &Uuid) -> Result<()> {
        let _ = vdi;
        Err(self.sr_type().lacks(Capability::Accept))
    }
}
