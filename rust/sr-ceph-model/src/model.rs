//! The expected state after each step.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sr::xapi::XapiFields;
use sr_ceph::faults::Faults;
use uuid::Uuid;

use crate::process::named;
use crate::states::{Kind, Present, States};
use crate::steps::LIKELY;
use crate::{Bench, Command, Effect, Step, HOSTS};

#[derive(Clone)]
pub(crate) struct Vdi {
    pub states: States,
    /// It existed when no operation was under way last.
    existed: bool,
    /// The host whose VM writes to the disk.
    pub writer: Option<usize>,
    /// Devices that VMs have open, by host.
    pub open: Vec<(usize, PathBuf)>,
    /// XAPI's database.
    pub fields: XapiFields,
}

/// The number of commands, by what happened to the process and by the result.
pub type Tally = BTreeMap<(&'static str, &'static str), usize>;

/// The expected state of an SR.
pub struct Model<B: Bench> {
    pub(crate) bench: B,
    pub(crate) vdis: Vec<Vdi>,
    pub(crate) uuids: Vec<Uuid>,
    /// Processes whose requests may still arrive.
    pub(crate) underway: Vec<&'static Faults<'static>>,
    /// Claims and devices are as the commands left them: no host lost its power, no event happened, no VM reads, and
    /// no activation failed.
    pub(crate) calm: bool,
    pub(crate) tally: Tally,
}

impl<B: Bench> Model<B> {
    /// The model of an empty SR.
    pub fn new(bench: B) -> Self {
        let absent = Vdi {
            states: States::ABSENT,
            existed: false,
            writer: None,
            open: Vec::new(),
            fields: named("disk"),
        };
        let uuid = |number: usize| match B::REUSES_UUIDS {
            true => Uuid::from_u128(1 + number as u128),
            false => Uuid::new_v4(),
        };
        Model {
            bench,
            vdis: vec![absent; B::VDIS],
            uuids: (0..B::VDIS).map(uuid).collect(),
            underway: Vec::new(),
            calm: true,
            tally: Tally::new(),
        }
    }

    /// Takes a step, and checks the SR after it.
    pub fn take(&mut self, step: &Step<B::Event>) {
        match *step {
            Step::Run {
                host,
                command,
                fate,
            } => self.command((host, self.choose(command)), fate),
            Step::Deliver => {
                if let Some(faults) = self.underway.pop() {
                    faults.deliver();
                }
            }
            Step::Write { vdi, block, value } => self.write(vdi, block, value),
            Step::Rename { vdi, name } => {
                let snapshot_of = self.vdis[vdi].fields.snapshot_of;
                self.vdis[vdi].fields = XapiFields {
                    snapshot_of,
                    ..named(&format!("name {name}"))
                };
            }
            Step::Repoint { vdi, of } => {
                self.vdis[vdi].fields.snapshot_of = Some(self.uuids[of]);
            }
            Step::OpenImage { vdi } => {
                if let Some(record) = self.record(vdi) {
                    self.bench.open_image(&record);
                }
            }
            Step::LeaseOver => self.bench.let_leases_end(),
            Step::Event(ref event) => {
                let effect = self.bench.happen(event, &|vdi| self.record(vdi));
                self.calm &= effect == Effect::None;
                match effect {
                    Effect::None | Effect::Mapped => {}
                    Effect::PowerLoss(host) => self.lose_power(host),
                    Effect::MapRefused(host) => assert!(self.has_open(host), "refused to map"),
                }
            }
        }
        self.check();
    }

    fn lose_power(&mut self, host: usize) {
        for vdi in &mut self.vdis {
            vdi.open.retain(|(on, _)| *on != host);
            vdi.writer = vdi.writer.filter(|writer| *writer != host);
        }
    }

    /// Replaces the numbers from `LIKELY` on by those of VDIs that fit the command, or of UUIDs that are free, if
    /// there are any.
    pub(crate) fn choose(&self, command: Command) -> Command {
        let choose = |number: usize, wanted: &dyn Fn(&States) -> bool| {
            let Some(number) = number.checked_sub(LIKELY) else {
                return number;
            };
            let mut fitting: Vec<_> = (0..B::VDIS)
                .filter(|vdi| wanted(&self.vdis[*vdi].states))
                .collect();
            if fitting.is_empty() {
                fitting = (0..B::VDIS).collect();
            }
            fitting[number % fitting.len()]
        };
        let there = |vdi| choose(vdi, &|states| !states.present.is_empty());
        let free = |vdi| choose(vdi, &|states| states.absent);
        let disk = |vdi| choose(vdi, &|states| states.may_be(Kind::Disk));
        let snapshot = |vdi| choose(vdi, &|states| states.may_be(Kind::Snapshot));
        match command {
            Command::Create(vdi) => Command::Create(free(vdi)),
            Command::Snapshot { of, new } => Command::Snapshot {
                of: there(of),
                new: free(new),
            },
            Command::Clone { of, new } => Command::Clone {
                of: there(of),
                new: free(new),
            },
            Command::Revert { disk: vdi, to } => Command::Revert {
                disk: disk(vdi),
                to: snapshot(to),
            },
            Command::Delete(vdi) => Command::Delete(there(vdi)),
            Command::Grow { disk: vdi, units } => Command::Grow {
                disk: disk(vdi),
                units,
            },
            Command::Activate { vdi, writable } => Command::Activate {
                vdi: disk(vdi),
                writable,
            },
            Command::Deactivate(vdi) => Command::Deactivate(there(vdi)),
            Command::Scan | Command::Attach => command,
        }
    }

    fn write(&mut self, number: usize, block: usize, value: u64) {
        let Some(host) = self.vdis[number].writer else {
            return;
        };
        let record = self.record(number).unwrap();
        let mut content = self.bench.content(&record);
        content[block] = value;
        self.bench.write(host, &record, &content);
        let states = &mut self.vdis[number].states;
        let present = states.present.iter();
        *states = States::only(present.map(|state| {
            let mut content = state.content;
            content[block] = value;
            Present { content, ..*state }
        }));
    }

    /// Returns the numbers of the VDIs that exist, or whose devices are open.
    fn numbers(&self) -> Vec<usize> {
        let there = |vdi: &usize| {
            let vdi = &self.vdis[*vdi];
            !vdi.states.present.is_empty() || !vdi.open.is_empty()
        };
        (0..B::VDIS).filter(there).collect()
    }

    pub(crate) fn has_open(&self, host: usize) -> bool {
        let open = self.vdis.iter().flat_map(|vdi| &vdi.open);
        open.into_iter().any(|(on, _)| *on == host)
    }

    /// Returns whether no operation is under way: then every outcome is decided.
    pub(crate) fn settled(&self) -> bool {
        self.underway.is_empty() && self.keys("op.").is_empty()
    }

    /// Returns whether exactly one result of the next command is right.
    pub(crate) fn is_exact(&self) -> bool {
        self.calm && self.settled()
    }

    /// Checks the SR after a step.
    pub(crate) fn check(&mut self) {
        let settled = self.settled();
        if settled {
            assert!(self.bench.paused().is_empty(), "a disk stays paused");
            self.bench.check_settled();
        }
        let directory = self.bench.observer().images().unwrap();
        let mut records = self.records();
        for (number, vdi) in self.vdis.iter_mut().enumerate() {
            let record = records.remove(&self.uuids[number]);
            let found = record.as_ref().map(|record| {
                let image = record.volume.image();
                let there = directory.get(&image.id) == Some(&image.name);
                assert!(there, "the image of {number} is lost: {record:?}");
                let kind = match record.volume.snapshot() {
                    None => {
                        let header = self.bench.observer().header(&image.id).unwrap();
                        assert!(header.size >= record.size);
                        Kind::Disk
                    }
                    Some(_) => Kind::Snapshot,
                };
                Present {
                    kind,
                    size: record.size,
                    content: self.bench.content(record),
                }
            });
            let states = &vdi.states;
            assert!(
                states.allow(found),
                "{number}: {found:?} is not of {states:?}"
            );
            let claim = record.and_then(|record| record.claim);
            let claimed = claim.map(|claim| claim.owner.host);
            let writer = vdi.writer.map(|host| self.bench.host(host));
            if writer.is_some() || (settled && self.calm) {
                assert_eq!(claimed.as_deref(), writer, "the claim of {number}");
            }
            if settled {
                if vdi.existed && found.is_none() && !B::REUSES_UUIDS {
                    self.uuids[number] = Uuid::new_v4();
                }
                vdi.existed = found.is_some();
                vdi.states = States::observed(found);
            }
        }
        assert!(records.is_empty(), "unknown VDIs: {records:?}");
    }

    /// Recovers, stops and deletes everything, and checks that nothing is left.
    pub fn end(mut self) -> Tally {
        let tally = self.tally.clone();
        while let Some(faults) = self.underway.pop() {
            faults.deliver();
            self.check();
        }
        self.bench.let_leases_end();
        for host in 0..HOSTS {
            self.live((host, Command::Scan));
            self.live((host, Command::Attach));
            self.check();
        }
        assert!(self.keys("op.").is_empty());
        for host in 0..HOSTS {
            for vdi in self.numbers() {
                self.live((host, Command::Deactivate(vdi)));
            }
            self.live((host, Command::Attach));
        }
        for vdi in self.numbers() {
            self.live((0, Command::Delete(vdi)));
            self.check();
        }
        self.bench.close_images();
        for host in 0..HOSTS {
            let devices = self.bench.devices(host);
            assert!(devices.is_empty(), "left: {devices:?}");
        }
        self.bench.delete_sr();
        tally
    }
}
