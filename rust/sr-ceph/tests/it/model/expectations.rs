//! The expected state after each step.

mod learning;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::rc::Rc;

use sr::xapi::{XapiFields, XapiVdi};
use sr_ceph::faults::{Faults, Mode};
use sr_ceph::pool::Pool;

use super::commands::{uuid, Actor, Outcome};
use super::states::{Kind, Present, States};
use super::{Command, Step, HOSTS, VDIS};
use crate::support::{named, Lab, A, GIB};

#[derive(Clone)]
struct Vdi {
    states: States,
    /// The host whose VM writes to the disk.
    writer: Option<usize>,
    /// Devices that VMs have open, by host.
    open: Vec<(usize, PathBuf)>,
    /// XAPI's database.
    fields: XapiFields,
}

pub struct Model {
    lab: Lab,
    vdis: Vec<Vdi>,
    /// Processes whose requests may still arrive.
    underway: Vec<&'static Faults<'static>>,
}

impl Model {
    pub fn new() -> Self {
        let absent = Vdi {
            states: States::ABSENT,
            writer: None,
            open: Vec::new(),
            fields: named("disk"),
        };
        Model {
            lab: Lab::new(),
            vdis: vec![absent; VDIS],
            underway: Vec::new(),
        }
    }

    pub fn take(&mut self, step: &Step) {
        match *step {
            Step::Run { host, command } => self.run(host, command),
            Step::Dying {
                host,
                command,
                nth,
                mode,
            } => self.die(host, command, nth, mode),
            Step::HeldUp {
                host,
                command,
                nth,
                past_lease,
                meanwhile,
            } => self.hold_up((host, command), nth, past_lease, meanwhile),
            Step::Deliver => {
                if let Some(faults) = self.underway.pop() {
                    faults.deliver();
                }
            }
            Step::Write { vdi, content } => self.write(vdi, content),
            Step::Rename {
                vdi,
                name,
                snapshot_of,
            } => {
                self.vdis[vdi].fields = named(&format!("name {name}"));
                self.vdis[vdi].fields.snapshot_of = Some(uuid(snapshot_of));
            }
            Step::MapByHand { host, vdi } => {
                if let Some(record) = self.lab.record(&uuid(vdi)) {
                    let name = &record.volume.image().name;
                    // Refused if a VM has it open for reading.
                    let mapped = self.lab.sim.map_by_hand(HOSTS[host], name);
                    assert!(mapped.is_ok() || self.has_open(host));
                }
            }
            Step::OpenWithLibrbd { vdi } => {
                if let Some(record) = self.lab.record(&uuid(vdi)) {
                    self.lab.sim.open_with_librbd(&record.volume.image().id);
                }
            }
            Step::Reboot { host } => self.power_cycle(host),
            Step::DeclareDead { host } => {
                self.power_cycle(host);
                self.lab.sim.declare_dead(HOSTS[host], true);
            }
            Step::RunManager => self.lab.sim.run_manager(),
            Step::LeaseOver => self.lab.let_leases_end(),
        }
    }

    fn power_cycle(&mut self, host: usize) {
        self.lab.sim.reboot(HOSTS[host]);
        for vdi in &mut self.vdis {
            vdi.open.retain(|(on, _)| *on != host);
            if vdi.writer == Some(host) {
                vdi.writer = None;
            }
        }
    }

    fn run(&mut self, host: usize, command: Command) {
        self.stop_vm(host, command);
        let actor = Actor::new(&self.lab, host, Faults::none());
        let outcome = actor.run(&self.lab, command, &self.known());
        self.learn(host, command, &outcome);
    }

    fn die(&mut self, host: usize, command: Command, nth: usize, mode: Mode) {
        self.stop_vm(host, command);
        let actor = Actor::dying(&self.lab, host, nth, mode);
        let outcome = actor.run(&self.lab, command, &self.known());
        match actor.faults.hit() {
            // XAPI's plugins pause and resume. Their calls end before the lease.
            Some("pause_disk" | "resume_disk") => actor.faults.deliver(),
            Some(_) if mode == Mode::Late => self.underway.push(actor.faults),
            _ => {}
        }
        self.learn(host, command, &outcome);
    }

    fn hold_up(
        &mut self,
        (host, command): (usize, Command),
        nth: usize,
        past_lease: bool,
        meanwhile: Command,
    ) {
        let other = 1 - host;
        self.stop_vm(host, command);
        let interrupted = Rc::new(RefCell::new(None));
        let faults = {
            let (lab, known) = (self.lab.clone(), self.known());
            let interrupted = Rc::clone(&interrupted);
            let closed = self.devices_to_close(other, meanwhile);
            Faults::interrupted(nth, move || {
                if past_lease {
                    lab.let_leases_end();
                }
                for device in closed {
                    lab.sim.set_open(HOSTS[other], &device, false);
                }
                let actor = Actor::new(&lab, other, Faults::none()).crowded();
                *interrupted.borrow_mut() = Some(actor.run(&lab, meanwhile, &known));
            })
        };
        let actor = Actor::new(&self.lab, host, faults).crowded();
        let held_up = (host, command, actor.run(&self.lab, command, &self.known()));
        match interrupted.take() {
            None => self.learn(host, command, &held_up.2),
            Some(outcome) => self.learn_in_any_order([held_up, (other, meanwhile, outcome)]),
        }
    }

    /// Two commands ran at the same time: the result must be that of one order of them.
    fn learn_in_any_order(&mut self, outcomes: [(usize, Command, Outcome); 2]) {
        let before = self.vdis.clone();
        let [first, second] = &outcomes;
        for [(host, command, outcome), then] in [[second, first], [first, second]] {
            let learnt = catch_unwind(AssertUnwindSafe(|| {
                self.learn(*host, *command, outcome);
                self.learn(then.0, then.1, &then.2);
                self.check();
            }));
            if learnt.is_ok() {
                return;
            }
            self.vdis.clone_from(&before);
        }
        panic!("no order of the two explains what they have answered");
    }

    fn known(&self) -> Vec<XapiVdi> {
        let vdis = self.vdis.iter().enumerate();
        vdis.filter(|(_, vdi)| !vdi.states.absent)
            .map(|(number, vdi)| XapiVdi {
                uuid: uuid(number),
                size: GIB,
                fields: vdi.fields.clone(),
            })
            .collect()
    }

    /// Stops the VM of a VDI before it is deactivated.
    fn stop_vm(&mut self, host: usize, command: Command) {
        for device in self.devices_to_close(host, command) {
            self.lab.sim.set_open(HOSTS[host], &device, false);
        }
    }

    fn devices_to_close(&self, host: usize, command: Command) -> Vec<PathBuf> {
        let Command::Deactivate(stopped) = command else {
            return Vec::new();
        };
        let others = self.vdis.iter().enumerate();
        let others: BTreeSet<_> = others
            .filter(|(number, _)| *number != stopped)
            .flat_map(|(_, vdi)| &vdi.open)
            .collect();
        let open = self.vdis[stopped].open.iter();
        let closed = open.filter(|opened| opened.0 == host && !others.contains(opened));
        closed.map(|(_, device)| device.clone()).collect()
    }

    fn write(&mut self, vdi: usize, content: u64) {
        let vdi_uuid = uuid(vdi);
        let vdi = &mut self.vdis[vdi];
        let Some(host) = vdi.writer else { return };
        let image = self.lab.image_id(&vdi_uuid);
        let devices = self.lab.sim.devices(HOSTS[host]);
        let device = devices
            .iter()
            .find(|d| d.key.image_id == image && d.key.snap_id.is_none())
            .unwrap();
        self.lab
            .sim
            .write(HOSTS[host], &device.device, content)
            .unwrap();
        let states = vdi.states.present.iter();
        vdi.states = States::only(states.map(|s| Present { content, ..*s }));
    }

    fn has_open(&self, host: usize) -> bool {
        let open = self.vdis.iter().flat_map(|vdi| &vdi.open);
        open.into_iter().any(|(on, _)| *on == host)
    }

    /// Returns whether no operation is under way: then every outcome is decided.
    fn settled(&self) -> bool {
        self.underway.is_empty() && self.lab.keys("op.").is_empty()
    }

    /// Checks the state after a step.
    pub fn check(&mut self) {
        let pool = self.lab.sim.snapshot();
        let settled = self.settled();
        if settled {
            assert!(self.lab.sim.paused().is_empty(), "a disk stays paused");
        }
        for (number, vdi) in self.vdis.iter_mut().enumerate() {
            let record = self.lab.record(&uuid(number));
            let found = record.as_ref().map(|record| {
                let image = record.volume.image();
                let there = pool.images.get(&image.name) == Some(&image.id);
                assert!(there, "the image of {number} is lost: {record:?}");
                let kind = match record.volume.snapshot() {
                    None => {
                        assert!(pool.sizes[&image.id] >= record.size);
                        Kind::Disk
                    }
                    Some(_) => Kind::Snapshot,
                };
                Present {
                    kind,
                    size: record.size,
                    content: self.lab.content(&uuid(number)).unwrap(),
                }
            });
            let states = &vdi.states;
            assert!(
                states.allow(found),
                "{number}: {found:?} is not of {states:?}"
            );
            if let Some(host) = vdi.writer {
                assert_eq!(record.unwrap().claim.unwrap().owner.host, HOSTS[host]);
            }
            if settled {
                vdi.states = States::observed(found);
            }
        }
    }

    /// Recovers, stops and deletes everything, and checks that nothing is left.
    pub fn end(mut self) {
        while let Some(faults) = self.underway.pop() {
            faults.deliver();
            self.check();
        }
        self.lab.let_leases_end();
        for host in 0..HOSTS.len() {
            self.run(host, Command::Scan);
            self.run(host, Command::Attach);
            self.check();
        }
        assert!(self.lab.keys("op.").is_empty());
        for host in 0..HOSTS.len() {
            for vdi in 0..VDIS {
                self.run(host, Command::Deactivate(vdi));
            }
            self.run(host, Command::Attach);
        }
        for vdi in 0..VDIS {
            self.run(0, Command::Delete(vdi));
            self.check();
        }
        self.close_librbd();
        self.lab.settle();
        let pool = self.lab.sim.snapshot();
        assert!(pool.sizes.is_empty(), "left: {pool:?}");
        let devices = self.lab.sim.all_devices();
        let none = devices.values().all(BTreeSet::is_empty);
        assert!(none, "left: {devices:?}");
        self.lab.run(A, |sr| sr.delete_sr()).unwrap();
    }

    /// Ends the tools that have images open.
    fn close_librbd(&self) {
        let client = self.lab.sim.client();
        for image in self.lab.sim.snapshot().sizes.keys() {
            for watcher in client.watchers(image).unwrap() {
                client.blocklist(&watcher.address, 3600).unwrap();
            }
        }
    }
}
