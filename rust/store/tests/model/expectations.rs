//! What may be counted on after each step.

use std::collections::BTreeSet;

use store::faults::{Calls, Faults, FaultyCluster, FaultyHost, Mode, Plan};
use store::host::{Host, Mapped};
use store::{Error, Repository, Result};
use uuid::Uuid;

use super::{Step, DISKS, HOSTS};
use crate::support::{named, new_disk, repository, Lab, Process, A, GIB, LEASE_OVER};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Absent,
    Present,
    /// A creation or deletion did not say how it ended.
    Unknown,
}

struct Disk {
    uuid: Uuid,
    fate: Fate,
    /// In bytes; several where an operation did not say how it ended.
    sizes: BTreeSet<u64>,
    contents: BTreeSet<u64>,
    /// The host whose VM runs on it.
    active: Option<usize>,
    /// Its name in XAPI.
    name: String,
}

/// A process, and its fault.
struct Actor {
    process: &'static Process,
    faults: &'static Faults<'static>,
}

pub struct Model {
    lab: Lab,
    disks: Vec<Disk>,
    dead: [bool; HOSTS.len()],
    /// Whose requests may still arrive.
    underway: Vec<&'static Faults<'static>>,
}

impl Model {
    pub fn new() -> Self {
        let disk = |_| Disk {
            uuid: Uuid::new_v4(),
            fate: Fate::Absent,
            sizes: BTreeSet::new(),
            contents: BTreeSet::new(),
            active: None,
            name: String::new(),
        };
        Model {
            lab: Lab::new(),
            disks: (0..DISKS).map(disk).collect(),
            dead: [false; HOSTS.len()],
            underway: Vec::new(),
        }
    }

    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Dying { nth, mode, step } => self.operate(step, Some((*nth, *mode))),
            Step::Write {
                host,
                disk,
                content,
            } => self.write(*host, *disk, *content),
            Step::Rename { disk, name } => self.disks[*disk].name = format!("name {name}"),
            Step::Reboot { host } => self.power_cycle(*host),
            Step::DeclareDead { host } => {
                self.power_cycle(*host);
                self.lab.world.advance_seconds(31);
                self.lab.world.declare_dead(HOSTS[*host], true);
                self.dead[*host] = true;
            }
            Step::RunManager => self.lab.world.run_manager(),
            Step::LeaseOver => self.lab.world.advance_seconds(LEASE_OVER),
            Step::Deliver => {
                if let Some(faults) = self.underway.pop() {
                    faults.deliver();
                }
            }
            operation => self.operate(operation, None),
        }
    }

    fn power_cycle(&mut self, host: usize) {
        self.lab.world.reboot(HOSTS[host]);
        for disk in self.disks.iter_mut().filter(|d| d.active == Some(host)) {
            disk.active = None;
        }
    }

    /// Starts a process on a host. It and its requests outlive the step, so they are leaked: a
    /// test's own process ends soon.
    fn start(&mut self, host: usize, fault: Option<(usize, Mode)>) -> Actor {
        if std::mem::take(&mut self.dead[host]) {
            self.lab.world.declare_dead(HOSTS[host], false);
        }
        let faults = fault.map_or_else(Faults::none, |(nth, mode)| {
            let calls = Calls::Changes;
            Faults::plan(Plan { calls, nth, mode })
        });
        let actor = Actor {
            process: Box::leak(Box::new(self.lab.process(HOSTS[host]))),
            faults: Box::leak(Box::new(faults)),
        };
        if fault.is_some_and(|(_, mode)| mode == Mode::Late) {
            self.underway.push(actor.faults);
        }
        actor
    }

    /// Runs a command; its answer, or `None` where a fault left it open.
    fn command<T>(
        &self,
        actor: &Actor,
        act: impl FnOnce(&Repository<'_>) -> Result<T>,
    ) -> Option<Result<T>> {
        let cluster = FaultyCluster::new(&actor.process.cluster, actor.faults);
        let host = FaultyHost::new(&actor.process.host, actor.faults);
        let result = act(&repository(&cluster, &host, self.lab.sr));
        self.lab.world.kill(actor.process.host.owner());
        let open = actor.faults.killed() || (actor.faults.hit().is_some() && result.is_err());
        (!open).then_some(result)
    }

    fn operate(&mut self, operation: &Step, fault: Option<(usize, Mode)>) {
        match *operation {
            Step::Create { host, disk } => self.create(host, disk, fault),
            Step::Delete { host, disk } => self.delete(host, disk, fault),
            Step::Grow { host, disk, gib } => self.grow(host, disk, gib * GIB, fault),
            Step::Activate { host, disk } => self.activate(host, disk, fault),
            Step::Deactivate { host, disk } => self.deactivate(host, disk, fault),
            Step::Scan { host } => self.scan(host, fault),
            Step::Attach { host } => {
                let actor = self.start(host, fault);
                if let Some(answer) = self.command(&actor, |sr| sr.attach_sr()) {
                    answer.unwrap();
                }
            }
            _ => unreachable!("{operation:?} is not an operation"),
        }
    }

    fn create(&mut self, host: usize, disk: usize, fault: Option<(usize, Mode)>) {
        let actor = self.start(host, fault);
        let uuid = self.disks[disk].uuid;
        let answer = self.command(&actor, |sr| sr.create_disk(&new_disk(uuid, GIB)));
        let disk = &mut self.disks[disk];
        match answer {
            Some(Ok(_)) => {
                assert_ne!(disk.fate, Fate::Present, "created over a disk");
                disk.fate = Fate::Present;
                disk.sizes = BTreeSet::from([GIB]);
                disk.contents = BTreeSet::from([0]);
                disk.name = "disk".to_owned();
            }
            Some(Err(Error::VdiExists { .. })) => assert_ne!(disk.fate, Fate::Absent),
            Some(Err(e)) => assert!(matches!(e, Error::VdiBusy { .. }), "{e}"),
            None if disk.fate == Fate::Present => {}
            None => {
                disk.fate = Fate::Unknown;
                disk.sizes.insert(GIB);
                disk.contents.insert(0);
            }
        }
    }

    fn delete(&mut self, host: usize, disk: usize, fault: Option<(usize, Mode)>) {
        let actor = self.start(host, fault);
        let uuid = self.disks[disk].uuid;
        let answer = self.command(&actor, |sr| sr.delete_vdi(&uuid));
        let disk = &mut self.disks[disk];
        match answer {
            Some(Ok(())) => {
                assert_eq!(disk.active, None, "deleted under a running VM");
                disk.fate = Fate::Absent;
                disk.sizes.clear();
                disk.contents.clear();
            }
            Some(Err(e)) => refused(disk, &e),
            None if disk.fate == Fate::Present => disk.fate = Fate::Unknown,
            None => {}
        }
    }

    fn grow(&mut self, host: usize, disk: usize, size: u64, fault: Option<(usize, Mode)>) {
        let actor = self.start(host, fault);
        let uuid = self.disks[disk].uuid;
        let answer = self.command(&actor, |sr| sr.resize_vdi(&uuid, i128::from(size)));
        let disk = &mut self.disks[disk];
        match answer {
            Some(Ok(got)) => {
                assert_eq!(got, size);
                assert_ne!(disk.fate, Fate::Absent);
                disk.sizes = BTreeSet::from([size]);
            }
            Some(Err(Error::Shrink { .. })) => {
                assert!(disk.sizes.iter().any(|known| *known > size));
            }
            Some(Err(e)) => refused(disk, &e),
            None => {
                disk.sizes.insert(size);
            }
        }
    }

    fn activate(&mut self, host: usize, disk: usize, fault: Option<(usize, Mode)>) {
        let actor = self.start(host, fault);
        let uuid = self.disks[disk].uuid;
        let answer = self.command(&actor, |sr| sr.activate_vdi(&uuid, true));
        let disk = &mut self.disks[disk];
        match answer {
            Some(Ok(mapped)) => {
                assert_ne!(disk.fate, Fate::Absent);
                assert!(
                    disk.active.is_none_or(|active| active == host),
                    "a second writer"
                );
                assert!(!mapped.read_only);
                let elsewhere = self.lab.world.devices(HOSTS[1 - host]);
                let writes = |d: &Mapped| !d.read_only && d.key == mapped.key;
                assert!(!elsewhere.iter().any(writes), "two kernels have the disk");
                self.lab.world.set_open(HOSTS[host], &mapped.device, true);
                disk.active = Some(host);
            }
            Some(Err(Error::ForeignKernel { .. })) => {
                // Of a disk that runs here, only a map that came late elsewhere.
                let image_id = self.lab.image_id(&uuid);
                let elsewhere = self.lab.world.devices(HOSTS[1 - host]);
                let mut writing = elsewhere.iter().filter(|d| !d.read_only);
                assert!(
                    disk.active != Some(host) || writing.any(|d| d.key.image_id == image_id),
                    "nobody else has the disk"
                );
            }
            Some(Err(e)) => refused(disk, &e),
            None => {}
        }
    }

    fn deactivate(&mut self, host: usize, disk: usize, fault: Option<(usize, Mode)>) {
        let uuid = self.disks[disk].uuid;
        for device in self.lab.world.devices(HOSTS[host]) {
            if device.image_name.contains(&uuid.to_string()) {
                self.lab.world.set_open(HOSTS[host], &device.device, false);
            }
        }
        let actor = self.start(host, fault);
        if let Some(answer) = self.command(&actor, |sr| sr.deactivate_vdi(&uuid)) {
            answer.unwrap();
        }
        let disk = &mut self.disks[disk];
        if disk.active == Some(host) {
            disk.active = None; // its VM has stopped, whatever became of the device
        }
    }

    fn scan(&mut self, host: usize, fault: Option<(usize, Mode)>) {
        let actor = self.start(host, fault);
        let present = self.disks.iter().filter(|d| d.fate == Fate::Present);
        let known: Vec<_> = present.map(|d| self.lab.known(d.uuid, &d.name)).collect();
        let Some(answer) = self.command(&actor, |sr| sr.scan(&known)) else {
            return;
        };
        let listed = answer.unwrap().vdis;
        for disk in &self.disks {
            let found = listed.iter().find(|vdi| vdi.uuid == disk.uuid);
            match (disk.fate, found) {
                (Fate::Present, Some(found)) => {
                    assert_eq!(found.xapi, named(&disk.name));
                    assert!(disk.sizes.contains(&found.size));
                }
                (Fate::Present, None) => panic!("a scan forgot {}", disk.uuid),
                (Fate::Absent, Some(_)) => panic!("a scan brought {} back", disk.uuid),
                _ => {}
            }
        }
    }

    fn write(&mut self, host: usize, disk: usize, content: u64) {
        let disk = &mut self.disks[disk];
        if disk.active != Some(host) {
            return;
        }
        let image = self.lab.image_id(&disk.uuid);
        let devices = self.lab.world.devices(HOSTS[host]);
        let device = devices.iter().find(|d| d.key.image_id == image).unwrap();
        self.lab
            .world
            .write(HOSTS[host], &device.device, content)
            .unwrap();
        disk.contents = BTreeSet::from([content]);
    }

    /// After every step.
    pub fn check(&self) {
        let pool = self.lab.world.snapshot();
        for disk in &self.disks {
            let record = self.lab.record(&disk.uuid);
            match disk.fate {
                Fate::Present => assert!(record.is_some(), "{} is lost", disk.uuid),
                Fate::Absent => assert!(record.is_none(), "{} is back", disk.uuid),
                Fate::Unknown => {}
            }
            let Some(record) = record else { continue };
            let image = record.volume.image();
            assert_eq!(pool.images.get(&image.name), Some(&image.id));
            assert!(disk.sizes.contains(&record.size));
            assert!(pool.sizes[&image.id] >= record.size);
            let content = self.lab.world.content(&image.id).unwrap();
            assert!(
                disk.contents.contains(&content),
                "{} lost its content",
                disk.uuid
            );
            if let Some(host) = disk.active {
                assert_eq!(record.claim.unwrap().owner.host, HOSTS[host]);
            }
        }
    }

    /// Everything is recovered, stopped and deleted: nothing is left.
    pub fn end(mut self) {
        while let Some(faults) = self.underway.pop() {
            faults.deliver();
            self.check();
        }
        self.lab.world.advance_seconds(LEASE_OVER);
        for host in 0..HOSTS.len() {
            self.operate(&Step::Scan { host }, None);
            self.operate(&Step::Attach { host }, None);
        }
        assert!(self.lab.keys("op.").is_empty());
        for disk in 0..DISKS {
            for host in 0..HOSTS.len() {
                self.deactivate(host, disk, None);
            }
            let uuid = self.disks[disk].uuid;
            self.lab.run(A, |sr| sr.delete_vdi(&uuid)).unwrap();
        }
        self.lab.world.run_manager();
        let pool = self.lab.world.snapshot();
        assert!(pool.sizes.is_empty(), "left: {pool:?}");
        let devices = self.lab.world.all_devices();
        assert!(
            devices.values().all(BTreeSet::is_empty),
            "left: {devices:?}"
        );
        self.lab.run(A, |sr| sr.delete_sr()).unwrap();
    }
}

/// The reasons for which a disk may refuse what is asked of it.
fn refused(disk: &Disk, error: &Error) {
    match error {
        Error::VdiMissing { .. } => assert_ne!(disk.fate, Fate::Present, "{error}"),
        Error::VdiInUse { .. } => assert_ne!(disk.fate, Fate::Absent, "{error}"),
        Error::VdiBusy { .. } => {}
        _ => panic!("{error}"),
    }
}
