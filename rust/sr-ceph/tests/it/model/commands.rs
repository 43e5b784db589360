//! Runs a command as a process of a host.

use sr::xapi::{ScannedVdi, XapiVdi};
use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
use sr_ceph::host::{Host, Mapped};
use sr_ceph::{CephSr, Error, Result};
use uuid::Uuid;

use super::{Command, HOSTS};
use crate::support::{ceph_sr, new_disk, Lab, Process, GIB};

/// The result of a command that succeeded.
pub enum Done {
    Nothing,
    /// The size in bytes.
    Grown(u64),
    Mapped(Mapped),
    Listed(Vec<ScannedVdi>),
}

/// A command's result, or `None` if it did not report how it ended.
pub type Outcome = Option<Result<Done>>;

/// A process, and its faults. Leaked, because it and its requests outlive the step.
#[derive(Clone, Copy)]
pub struct Actor {
    process: &'static Process,
    pub faults: &'static Faults<'static>,
    /// Another host acts at the same time.
    crowded: bool,
}

/// Returns the UUID of a VDI's number.
pub fn uuid(vdi: usize) -> Uuid {
    Uuid::from_u128(1 + vdi as u128)
}

impl Actor {
    pub fn new(lab: &Lab, host: usize, faults: Faults<'static>) -> Self {
        Actor {
            process: Box::leak(Box::new(lab.process(HOSTS[host]))),
            faults: Box::leak(Box::new(faults)),
            crowded: false,
        }
    }

    pub fn dying(lab: &Lab, host: usize, nth: usize, mode: Mode) -> Self {
        let calls = Calls::Changes;
        Actor::new(lab, host, Faults::plan(Plan { calls, nth, mode }))
    }

    pub fn crowded(self) -> Self {
        Actor {
            crowded: true,
            ..self
        }
    }

    /// Runs a command to its end. `known` are XAPI's records.
    pub fn run(self, lab: &Lab, command: Command, known: &[XapiVdi]) -> Outcome {
        let pool = FaultyPool::new(&self.process.pool, self.faults);
        let host = FaultyHost::new(&self.process.host, self.faults);
        let own = &self.process.host.owner().host;
        if let Command::Deactivate(vdi) = command {
            lab.sim.set_used(own, &uuid(vdi), false);
        }
        let result = perform(&ceph_sr(&pool, &host, lab.sr), command, known);
        if let (Ok(Done::Mapped(mapped)), Command::Activate { vdi, .. }) = (&result, command) {
            lab.sim.set_used(own, &uuid(vdi), !mapped.read_only);
        }
        lab.sim.kill(self.process.host.owner());
        let faulty = self.faults.killed() || (self.faults.hit().is_some() && result.is_err());
        let overtaken = self.crowded && matches!(&result, Err(error) if is_surprise(error));
        (!faulty && !overtaken).then_some(result)
    }
}

fn perform(sr: &CephSr<'_>, command: Command, known: &[XapiVdi]) -> Result<Done> {
    let nothing = |()| Done::Nothing;
    match command {
        Command::Create(vdi) => sr
            .create_disk(&new_disk(uuid(vdi), GIB))
            .map(|_| Done::Nothing),
        Command::Snapshot { of, new } => sr
            .snapshot_vdi(&uuid(of), &uuid(new))
            .map(|_| Done::Nothing),
        Command::Clone { of, new } => sr.clone_vdi(&uuid(of), &uuid(new)).map(|_| Done::Nothing),
        Command::Revert { disk, to } => {
            sr.revert_vdi(&uuid(disk), &uuid(to)).map(|_| Done::Nothing)
        }
        Command::Delete(vdi) => sr.delete_vdi(&uuid(vdi)).map(nothing),
        Command::Grow { disk, gib } => sr
            .resize_vdi(&uuid(disk), i128::from(gib * GIB))
            .map(Done::Grown),
        Command::Activate { vdi, writable } => {
            sr.activate_vdi(&uuid(vdi), writable).map(Done::Mapped)
        }
        Command::Deactivate(vdi) => sr.deactivate_vdi(&uuid(vdi)).map(nothing),
        Command::Scan => sr.scan(known).map(|scan| Done::Listed(scan.vdis)),
        Command::Attach => sr.attach_sr().map(nothing),
    }
}

/// Returns whether an error only occurs if another host has changed the VDI meanwhile.
fn is_surprise(error: &Error) -> bool {
    matches!(
        error,
        Error::Ceph { .. }
            | Error::Host { .. }
            | Error::Changed(_)
            | Error::NotUndone { .. }
            | Error::ImageMissing { .. }
            | Error::SnapshotMissing { .. }
    )
}
