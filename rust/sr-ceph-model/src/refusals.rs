//! Which commands are refused, and for which reasons.

use sr_ceph::{Error, ImageError};
use uuid::Uuid;

use crate::states::{Kind, Present, States};
use crate::{Bench, Command, Model};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Exists,
    Missing,
    InUse,
    ReadOnly,
    Shrink,
    NotRevertible,
}

impl Refusal {
    /// Returns the reason of a refusal, if it is one of these.
    fn of(error: &Error) -> Option<Refusal> {
        match error {
            Error::VdiExists { .. } => Some(Refusal::Exists),
            Error::VdiMissing { .. } => Some(Refusal::Missing),
            Error::VdiInUse { .. } => Some(Refusal::InUse),
            Error::ReadOnly { .. } => Some(Refusal::ReadOnly),
            Error::Shrink { .. } => Some(Refusal::Shrink),
            Error::NotRevertible { .. } => Some(Refusal::NotRevertible),
            _ => None,
        }
    }
}

fn refuse_if(condition: bool, refusal: Refusal) -> Result<(), Refusal> {
    if condition {
        Err(refusal)
    } else {
        Ok(())
    }
}

impl<B: Bench> Model<B> {
    /// Returns the reasons, of which any may be given, if a command must be refused. The state of every VDI is
    /// decided, and no VM reads.
    pub(crate) fn reasons(&self, host: usize, command: Command) -> Vec<Refusal> {
        let checks = match command {
            Command::Snapshot { of, new } | Command::Clone { of, new } => {
                vec![self.check_absent(new), self.find(of).map(drop)]
            }
            _ => vec![self.expected(host, command)],
        };
        checks.into_iter().filter_map(Result::err).collect()
    }

    fn find(&self, vdi: usize) -> Result<&Present, Refusal> {
        let found = self.vdis[vdi].states.present.first();
        found.ok_or(Refusal::Missing)
    }

    fn check_absent(&self, vdi: usize) -> Result<(), Refusal> {
        refuse_if(!self.vdis[vdi].states.absent, Refusal::Exists)
    }

    fn expected(&self, host: usize, command: Command) -> Result<(), Refusal> {
        let idle = |vdi: usize| refuse_if(self.vdis[vdi].writer.is_some(), Refusal::InUse);
        match command {
            Command::Create(vdi) => self.check_absent(vdi),
            Command::Revert { disk, to } => {
                let (snapshot, reverted) = (self.find(to)?, self.find(disk)?);
                let kinds = (reverted.kind, snapshot.kind);
                let right = kinds == (Kind::Disk, Kind::Snapshot);
                refuse_if(!right, Refusal::NotRevertible)?;
                idle(disk)
            }
            Command::Delete(vdi) => idle(vdi),
            Command::Grow { disk, units } => {
                let (found, size) = (self.find(disk)?, units * B::UNIT);
                refuse_if(found.kind == Kind::Snapshot, Refusal::ReadOnly)?;
                refuse_if(size < found.size, Refusal::Shrink)?;
                if size > found.size {
                    idle(disk)?;
                }
                Ok(())
            }
            Command::Activate { vdi, .. } => {
                refuse_if(self.find(vdi)?.kind == Kind::Snapshot, Refusal::ReadOnly)?;
                let writer = self.vdis[vdi].writer;
                refuse_if(writer.is_some_and(|writer| writer != host), Refusal::InUse)
            }
            Command::Snapshot { .. }
            | Command::Clone { .. }
            | Command::Deactivate(_)
            | Command::Scan
            | Command::Attach => Ok(()),
        }
    }

    /// Checks that a host may refuse a command for this reason.
    pub(crate) fn check_refusal(&self, job: (usize, Command), error: &Error, exact: bool) {
        let (host, command) = job;
        let right = match Refusal::of(error) {
            Some(refusal) if exact => self.reasons(host, command).contains(&refusal),
            _ => self.may_refuse(job, error, exact),
        };
        assert!(right, "{command:?} on {host}: {error}");
    }

    fn may_refuse(&self, (host, command): (usize, Command), error: &Error, exact: bool) -> bool {
        let number = |wanted: &Uuid| self.uuids.iter().position(|uuid| uuid == wanted).unwrap();
        let states = |wanted: &Uuid| -> &States { &self.vdis[number(wanted)].states };
        let is_there = |vdi| !states(vdi).present.is_empty();
        // Its image may be hidden.
        let is_reused = || B::REUSES_UUIDS && !self.keys("hidden.").is_empty();
        match error {
            Error::VdiBusy { .. } => !exact,
            Error::VdiMissing { vdi, .. } => states(vdi).absent,
            Error::VdiExists { vdi, .. } | Error::VdiInUse { vdi, .. } => is_there(vdi),
            Error::ReadOnly { vdi, .. } => states(vdi).may_be(Kind::Snapshot),
            Error::Shrink { vdi, size, .. } => states(vdi).present.iter().any(|s| s.size > *size),
            Error::NotRevertible { vdi, snapshot } => {
                states(vdi).may_be(Kind::Snapshot) || states(snapshot).may_be(Kind::Disk)
            }
            Error::Image(ImageError::ForeignKernel { vdi, .. }) => {
                let image = self.record(number(vdi)).unwrap().volume.image().id.clone();
                let elsewhere = self.bench.devices(1 - host);
                let mut writing = elsewhere.iter().filter(|d| !d.read_only);
                let mapped = writing.any(|d| d.key.image_id == image);
                // The watch of a kernel that is gone lasts for a while.
                let at_rest = self.vdis.iter().all(|vdi| vdi.writer != Some(host));
                !exact && (mapped || at_rest || matches!(command, Command::Activate { .. }))
            }
            // A killed clone has made it, and was not recovered yet; or a VDI had that UUID before.
            Error::Image(ImageError::NameTaken { .. }) => !self.settled() || is_reused(),
            Error::Ceph { source, .. } => {
                source.is_already_there() && (!self.settled() || is_reused())
            }
            // A disk that is open for reading is not also mapped for writing.
            Error::Host { source, .. } => {
                let activates = matches!(command, Command::Activate { writable: true, .. });
                source.is_busy() && activates && self.has_open(host)
            }
            _ => false,
        }
    }
}
