//! Updates the expectations from a command's result.

use sr::xapi::{ScannedVdi, XapiFields};
use sr_ceph::host::Mapped;
use sr_ceph::Error;

use super::super::commands::{uuid, Done, Outcome};
use super::super::states::{Kind, Present, States};
use super::super::{Command, HOSTS, VDIS};
use super::Model;
use crate::support::{named, GIB};

impl Model {
    pub(super) fn learn(&mut self, host: usize, command: Command, outcome: &Outcome) {
        if let Some(Err(error)) = outcome {
            return self.refused(host, command, error);
        }
        let result = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
        match (command, result) {
            (Command::Create(vdi), _) => {
                self.made(
                    vdi,
                    States::only([Present::NEW]),
                    named("disk"),
                    result.is_some(),
                );
            }
            (Command::Snapshot { of, new }, _) => self.copied(of, new, Kind::Snapshot, result),
            (Command::Clone { of, new }, _) => self.copied(of, new, Kind::Disk, result),
            (Command::Revert { disk, to }, _) => {
                let snapshots = self.vdis[to].states.of_kind(Kind::Snapshot);
                let kind = Kind::Disk;
                let states = States::only(snapshots.map(|s| Present { kind, ..s }));
                self.changed(disk, states, result);
            }
            (Command::Delete(vdi), _) => self.changed(vdi, States::ABSENT, result),
            (Command::Grow { disk, gib }, _) => {
                if let Some(Done::Grown(size)) = result {
                    assert_eq!(*size, gib * GIB);
                }
                let disks = self.vdis[disk].states.of_kind(Kind::Disk);
                let size = gib * GIB;
                let states = States::only(disks.map(|d| Present { size, ..d }));
                if result.is_some() {
                    assert!(states.may_be(Kind::Disk), "grown without being there");
                    self.vdis[disk].states = states;
                } else {
                    self.vdis[disk].states.or(states);
                }
            }
            (Command::Activate { vdi, writable }, Some(Done::Mapped(mapped))) => {
                self.activated(host, vdi, writable, mapped);
            }
            (Command::Deactivate(vdi), _) => {
                // Its VM has stopped, even if the device was not removed.
                let vdi = &mut self.vdis[vdi];
                vdi.open.retain(|(on, _)| *on != host);
                vdi.writer = vdi.writer.filter(|writer| *writer != host);
            }
            (_, Some(Done::Listed(listed))) => self.listed(listed),
            _ => {}
        }
    }

    fn copied(&mut self, of: usize, new: usize, kind: Kind, result: Option<&Done>) {
        let states = self.vdis[of].states.copies(kind);
        assert!(result.is_none() || !states.present.is_empty(), "of nothing");
        let fields = self.vdis[of].fields.clone();
        self.made(new, states, fields, result.is_some());
    }

    fn made(&mut self, new: usize, states: States, fields: XapiFields, reported: bool) {
        let vdi = &mut self.vdis[new];
        if reported {
            assert!(vdi.states.absent, "made over a VDI");
            vdi.states = states;
            vdi.fields = fields;
        } else if vdi.states.absent {
            vdi.states.or(states);
        }
    }

    /// A disk, which must not be in use, was changed.
    fn changed(&mut self, vdi: usize, states: States, result: Option<&Done>) {
        let vdi = &mut self.vdis[vdi];
        if result.is_some() {
            assert_eq!(vdi.writer, None, "changed under a running VM");
            assert!(states.absent || vdi.states.may_be(Kind::Disk));
            vdi.states = states;
        } else if !vdi.states.present.is_empty() {
            vdi.states.or(states);
        }
    }

    fn activated(&mut self, host: usize, number: usize, writable: bool, mapped: &Mapped) {
        let vdi = &mut self.vdis[number];
        assert!(!vdi.states.present.is_empty());
        if writable {
            assert!(!mapped.read_only && vdi.states.may_be(Kind::Disk));
            assert!(
                vdi.writer.is_none_or(|writer| writer == host),
                "a second writer"
            );
            let elsewhere = self.lab.sim.devices(HOSTS[1 - host]);
            let writes = |d: &Mapped| !d.read_only && d.key == mapped.key;
            assert!(!elsewhere.iter().any(writes), "two kernels have the disk");
            vdi.writer = Some(host);
        }
        self.lab.sim.set_open(HOSTS[host], &mapped.device, true);
        vdi.open.push((host, mapped.device.clone()));
    }

    fn listed(&self, listed: &[ScannedVdi]) {
        for (number, vdi) in self.vdis.iter().enumerate() {
            let found = listed.iter().find(|found| found.uuid == uuid(number));
            match found {
                Some(_) if vdi.states.present.is_empty() => panic!("a scan brought {number} back"),
                None if !vdi.states.absent => panic!("a scan forgot {number}"),
                Some(found) if !vdi.states.absent => {
                    assert_eq!(found.xapi, vdi.fields);
                    let mut sizes = vdi.states.present.iter().map(|state| state.size);
                    assert!(sizes.any(|size| size == found.size));
                }
                _ => {}
            }
        }
    }

    /// Checks that a host may refuse a command for this reason.
    fn refused(&self, host: usize, command: Command, error: &Error) {
        let states = |wanted: &uuid::Uuid| {
            let number = (0..VDIS).find(|number| uuid(*number) == *wanted).unwrap();
            &self.vdis[number].states
        };
        let is_there = |vdi| !states(vdi).present.is_empty();
        let justified = match error {
            Error::VdiBusy { .. } => true,
            Error::VdiMissing { vdi, .. } => states(vdi).absent,
            Error::VdiExists { vdi, .. } | Error::VdiInUse { vdi, .. } => is_there(vdi),
            Error::ReadOnly { vdi, .. } => states(vdi).may_be(Kind::Snapshot),
            Error::Shrink { vdi, size, .. } => states(vdi).present.iter().any(|s| s.size > *size),
            Error::NotRevertible { vdi, snapshot } => {
                states(vdi).may_be(Kind::Snapshot) || states(snapshot).may_be(Kind::Disk)
            }
            Error::ForeignKernel { vdi, .. } => {
                let image = self.lab.image_id(vdi);
                let elsewhere = self.lab.sim.devices(HOSTS[1 - host]);
                let mut writing = elsewhere.iter().filter(|d| !d.read_only);
                let mapped = writing.any(|d| d.key.image_id == image);
                // The watch of a kernel that is gone lasts for a while.
                let at_rest = self.vdis.iter().all(|vdi| vdi.writer != Some(host));
                mapped || at_rest || matches!(command, Command::Activate { .. })
            }
            // A killed clone has made it, and was not recovered yet; or a VDI had that UUID before,
            // and its image is hidden.
            Error::ForeignImage { .. } => !self.settled() || !self.lab.keys("hidden.").is_empty(),
            Error::Ceph { source, .. } => {
                source.is_already_there()
                    && !(self.settled() && self.lab.keys("hidden.").is_empty())
            }
            // A disk that is open for reading is not also mapped for writing.
            Error::Host { source, .. } => {
                let activates = matches!(command, Command::Activate { writable: true, .. });
                source.is_busy() && activates && self.has_open(host)
            }
            _ => false,
        };
        assert!(justified, "{command:?} on {host}: {error}");
    }
}
