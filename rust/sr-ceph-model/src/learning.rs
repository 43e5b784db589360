//! Updates the expectations from a command's result.

use sr::xapi::{ScannedVdi, XapiFields};
use sr_ceph::host::Mapped;

use crate::process::{named, Done, Outcome};
use crate::states::{Kind, Present, States};
use crate::{Bench, Command, Model};

impl<B: Bench> Model<B> {
    /// `exact`: exactly one result is right.
    pub(crate) fn learn(
        &mut self,
        (host, command): (usize, Command),
        outcome: &Outcome,
        exact: bool,
    ) {
        if let Some(Err(error)) = outcome {
            return self.check_refusal((host, command), error, exact);
        }
        let result = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
        if exact {
            let reasons = self.reasons(host, command);
            if !reasons.is_empty() {
                assert!(result.is_none(), "{command:?} is done, despite {reasons:?}");
                return;
            }
        }
        match (command, result) {
            (Command::Create(vdi), _) => {
                let new = States::only([Present::new(B::NEW * B::UNIT)]);
                self.made(vdi, new, named("disk"), result.is_some());
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
            (Command::Grow { disk, units }, _) => {
                if let Some(Done::Grown(size)) = result {
                    assert_eq!(*size, units * B::UNIT);
                }
                let disks = self.vdis[disk].states.of_kind(Kind::Disk);
                let size = units * B::UNIT;
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
            (_, Some(Done::Listed(listed))) => self.listed(listed, exact),
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
            let elsewhere = self.bench.devices(1 - host);
            let writes = |d: &Mapped| !d.read_only && d.key == mapped.key;
            assert!(!elsewhere.iter().any(writes), "two kernels have the disk");
            vdi.writer = Some(host);
        }
        self.bench.set_open(host, &mapped.device, true);
        vdi.open.push((host, mapped.device.clone()));
    }

    fn listed(&self, listed: &[ScannedVdi], exact: bool) {
        let records = self.records();
        for (number, vdi) in self.vdis.iter().enumerate() {
            let uuid = self.uuids[number];
            let found = listed.iter().find(|found| found.uuid == uuid);
            match found {
                Some(_) if vdi.states.present.is_empty() => panic!("a scan brought {number} back"),
                None if !vdi.states.absent => panic!("a scan forgot {number}"),
                Some(found) if !vdi.states.absent => {
                    assert_eq!(found.xapi, vdi.fields);
                    if exact {
                        assert_eq!(records[&uuid].xapi, vdi.fields, "copied fields");
                    }
                    let mut sizes = vdi.states.present.iter().map(|state| state.size);
                    assert!(sizes.any(|size| size == found.size));
                }
                _ => {}
            }
        }
        let strange = listed
            .iter()
            .find(|found| !self.uuids.contains(&found.uuid));
        assert!(strange.is_none(), "a scan lists {strange:?}");
    }
}
