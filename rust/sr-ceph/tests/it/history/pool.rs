//! The pool of a history, and the checks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use sr_ceph::faults::{Calls, Faults, Mode, Plan};
use sr_ceph::record::{HostRecord, Record};
use sr_ceph::{Error, Hold, ImageError};
use uuid::Uuid;

use super::{actor, Event, Step, DISKS, HOSTS};
use crate::support::{Lab, GIB};

const NAMES: [&str; HOSTS] = ["host-a", "host-b", "host-c"];

/// The state of a host that no driver decides.
#[derive(Clone, Copy, Default)]
struct Fate {
    frozen: bool,
    cut: bool,
}

pub struct XapiPool {
    lab: Lab,
    disks: Vec<Uuid>,
    snapshots: Vec<Uuid>,
    fates: [Fate; HOSTS],
    /// The devices that VMs use, by host and disk. An activation has returned them.
    used: BTreeMap<(usize, usize), PathBuf>,
    /// Activations that were killed, by host and disk. The host's next command settles them.
    killed: BTreeSet<(usize, usize)>,
    blocklisting: bool,
    writes: u64,
}

impl XapiPool {
    pub fn new(old_kernels: bool) -> Self {
        let lab = Lab::new();
        for name in NAMES {
            lab.run(name, |sr| sr.attach_sr()).unwrap();
            lab.sim.set_old_kernel(name, old_kernels);
        }
        let disks: Vec<_> = (0..DISKS).map(|_| lab.create(GIB)).collect();
        let snapshots: Vec<_> = disks.iter().map(|disk| lab.snapshot(disk)).collect();
        // A backup reads the first disk all the time.
        lab.run(NAMES[2], |sr| sr.activate_vdi(&snapshots[0], false))
            .unwrap();
        XapiPool {
            lab,
            disks,
            snapshots,
            fates: [Fate::default(); HOSTS],
            used: BTreeMap::new(),
            killed: BTreeSet::new(),
            blocklisting: true,
            writes: 0,
        }
    }

    pub fn take(&mut self, step: &Step) {
        if let Step::Activate { host, .. }
        | Step::Killed { host, .. }
        | Step::Interrupted { host, .. }
        | Step::Revert { host, .. } = *step
        {
            self.settle(host);
        }
        match *step {
            Step::Event(event) => self.happen(event),
            Step::Activate { host, disk } => self.activate(host, disk, Faults::none()),
            Step::Killed { host, disk, nth } => {
                let (calls, mode) = (Calls::Changes, Mode::KilledAfter);
                self.activate(host, disk, Faults::plan(Plan { calls, nth, mode }));
            }
            Step::Interrupted {
                host,
                disk,
                nth,
                by,
            } => self.interrupt(host, disk, nth, by),
            Step::Deactivate { host, disk } if self.runs(host) => {
                self.stop(host, disk);
            }
            Step::Snapshot { host, disk } if self.runs(host) => {
                let (vdi, new) = (self.disks[disk], Uuid::new_v4());
                let taken = self.lab.run(NAMES[host], |sr| sr.snapshot_vdi(&vdi, &new));
                if taken.is_ok() {
                    self.lab.run(NAMES[host], |sr| sr.delete_vdi(&new)).unwrap();
                }
            }
            Step::Revert { host, disk } if self.runs(host) => {
                let (vdi, to) = (self.disks[disk], self.snapshots[disk]);
                let done = self.lab.run(NAMES[host], |sr| sr.revert_vdi(&vdi, &to));
                if let Err(error) = done {
                    self.require_reason(host, disk, &error);
                } else {
                    assert_eq!(self.accepted(disk), [0; 0], "reverted under a writer");
                }
            }
            Step::Attach { host } if self.runs(host) => {
                let attached = self.lab.run(NAMES[host], |sr| sr.attach_sr());
                if let Err(error) = attached {
                    assert!(!self.blocklisting, "{error}");
                }
            }
            _ => {}
        }
    }

    /// Settles killed activations, as the SM drivers do before each command of a host.
    fn settle(&mut self, host: usize) {
        if !self.runs(host) {
            return;
        }
        let killed = self.killed.iter().filter(|(on, _)| *on == host);
        for (_, disk) in killed.copied().collect::<Vec<_>>() {
            self.killed.remove(&(host, disk));
            if !self.used.contains_key(&(host, disk)) {
                let vdi = self.disks[disk];
                let used = self
                    .lab
                    .run(NAMES[host], |sr| sr.reconcile_vdi(&vdi))
                    .unwrap();
                assert!(!used, "a killed activation left a device that is open");
            }
        }
    }

    /// A VM stops, and its disk is deactivated.
    fn stop(&mut self, host: usize, disk: usize) {
        if self.used.remove(&(host, disk)).is_some() {
            // Also the device of before a revert by another host, while this one was dead.
            let made_for = self.disks[disk].to_string();
            for device in self.lab.sim.devices(NAMES[host]) {
                if device.image_name.contains(&made_for) {
                    self.lab.sim.set_open(NAMES[host], &device.device, false);
                }
            }
            self.lab.deactivate(NAMES[host], &self.disks[disk]).unwrap();
        }
    }

    fn runs(&self, host: usize) -> bool {
        !self.fates[host].frozen
    }

    fn happen(&mut self, event: Event) {
        let sim = &self.lab.sim;
        match event {
            Event::Freeze(host) => {
                sim.freeze(NAMES[host]);
                self.fates[host].frozen = true;
            }
            Event::Thaw(host) => {
                sim.thaw(NAMES[host]);
                self.fates[host].frozen = false;
            }
            Event::Reboot(host) => {
                sim.reboot(NAMES[host]);
                self.fates[host].frozen = false;
                self.used.retain(|(on, _), _| *on != host);
            }
            Event::Cut { host, cut } => {
                sim.set_host_reachable(NAMES[host], !cut);
                self.fates[host].cut = cut;
            }
            // xapi refuses to declare a host dead that it can reach.
            Event::DeclareDead { host, hook } if self.is_silent(host) => {
                sim.declare_dead(NAMES[host], true);
                let other = (0..HOSTS).find(|other| *other != host && self.runs(*other));
                if let (true, Some(other)) = (hook, other) {
                    let done = self
                        .lab
                        .run(NAMES[other], |sr| sr.declare_dead(NAMES[host], "fenced"));
                    assert!(done.is_ok() || !self.blocklisting, "{done:?}");
                }
            }
            Event::DeclareDead { .. } => {}
            Event::Clock { host, ahead } => sim.set_clock(NAMES[host], ahead),
            Event::Blocklisting(may) => {
                sim.set_may_blocklist(may);
                self.blocklisting = may;
            }
            Event::Time(seconds) => sim.advance_seconds(seconds),
        }
    }

    fn is_silent(&self, host: usize) -> bool {
        self.fates[host].cut || self.fates[host].frozen
    }

    /// Returns whether XAPI or the catalogue has the host's present life as dead.
    fn is_declared_dead(&self, host: usize) -> bool {
        let entries = self.lab.sim.object(&self.lab.catalogue()).unwrap();
        let record = entries.get(&format!("host.{}", NAMES[host]));
        let record = record.map(|bytes| HostRecord::parse(bytes).unwrap());
        let dead = record.is_some_and(|record| record.dead.is_some());
        dead || self.lab.sim.is_declared_dead(NAMES[host])
    }

    fn activate(&mut self, host: usize, disk: usize, faults: Faults<'static>) {
        if !self.runs(host) {
            return;
        }
        let vdi = self.disks[disk];
        let before = self.used.contains_key(&(host, disk));
        let (done, faults) = actor::run(&self.lab, NAMES[host], faults, |sr| {
            sr.activate_vdi(&vdi, true)
        });
        match done {
            Ok(mapped) => {
                self.lab.sim.set_used(NAMES[host], &vdi, true);
                self.lab.sim.set_open(NAMES[host], &mapped.device, true);
                self.used.insert((host, disk), mapped.device);
            }
            Err(_) if faults.killed() => drop(self.killed.insert((host, disk))),
            Err(error) => {
                self.require_reason(host, disk, &error);
                if !before {
                    self.check_nothing_left(host, disk, &error);
                }
            }
        }
    }

    /// Runs an activation with an event in the middle: of another host, or of the network.
    fn interrupt(&mut self, host: usize, disk: usize, nth: usize, by: Event) {
        let of_another = match by {
            Event::Freeze(on) | Event::Thaw(on) | Event::Reboot(on) => on != host,
            Event::Blocklisting(_) => false,
            _ => true,
        };
        if !self.runs(host) || !of_another {
            return;
        }
        let vdi = self.disks[disk];
        let before = self.used.contains_key(&(host, disk));
        let mut outside = self.outside();
        let happened = std::rc::Rc::new(std::cell::RefCell::new(None));
        let seen = std::rc::Rc::clone(&happened);
        let faults = Faults::interrupted(nth, move || {
            outside.happen(by);
            *seen.borrow_mut() = Some(outside);
        });
        let (done, _) = actor::run(&self.lab, NAMES[host], faults, |sr| {
            sr.activate_vdi(&vdi, true)
        });
        if let Some(outside) = happened.take() {
            (self.fates, self.used) = (outside.fates, outside.used);
        }
        match done {
            Ok(mapped) => {
                self.lab.sim.set_used(NAMES[host], &vdi, true);
                self.lab.sim.set_open(NAMES[host], &mapped.device, true);
                self.used.insert((host, disk), mapped.device);
            }
            // The reason may have ended since the refusal.
            Err(error) if !before => self.check_nothing_left(host, disk, &error),
            Err(_) => {}
        }
    }

    /// Returns the same pool for a host that acts meanwhile.
    fn outside(&self) -> XapiPool {
        XapiPool {
            lab: self.lab.clone(),
            disks: self.disks.clone(),
            snapshots: self.snapshots.clone(),
            fates: self.fates,
            used: self.used.clone(),
            killed: self.killed.clone(),
            blocklisting: self.blocklisting,
            writes: self.writes,
        }
    }

    /// Returns the hosts whose writes to a disk the cluster applies now, also frozen ones.
    fn accepted(&self, disk: usize) -> Vec<usize> {
        let cut_off = self.lab.sim.blocklist();
        let image = self.lab.image_id(&self.disks[disk]);
        let using = self.used.iter().filter(|((_, of), _)| *of == disk);
        using
            .filter(|((host, _), device)| {
                let devices = self.lab.sim.devices(NAMES[*host]);
                devices.iter().any(|d| {
                    d.device == **device
                        && d.key.image_id == image
                        && !cut_off.contains(&d.client_address)
                })
            })
            .map(|((host, _), _)| *host)
            .collect()
    }

    /// Checks that the cluster accepts at most one host as a writer of each disk, and applies its writes.
    pub fn check_writers(&mut self) {
        for disk in 0..DISKS {
            let accepted = self.accepted(disk);
            assert!(accepted.len() < 2, "{accepted:?} write to disk {disk}");
            let vdi = self.disks[disk];
            let claim = self.lab.record(&vdi).unwrap().claim;
            for host in accepted {
                let owner = claim.as_ref().map(|claim| claim.owner.host.as_str());
                assert_eq!(owner, Some(NAMES[host]), "a writer without the claim");
                if self.runs(host) {
                    self.writes += 1;
                    let device = &self.used[&(host, disk)];
                    self.lab
                        .sim
                        .write(NAMES[host], device, self.writes)
                        .unwrap();
                    assert_eq!(self.lab.content(&vdi), Some(self.writes));
                }
            }
        }
    }

    /// Checks that the reason of an error is true.
    fn require_reason(&self, host: usize, disk: usize, error: &Error) {
        let number = |name: &str| NAMES.iter().position(|known| *known == name).unwrap();
        let vdi = &self.disks[disk];
        let justified = match error {
            Error::VdiInUse {
                host: holder, hold, ..
            } => {
                let holder = number(holder);
                match hold {
                    _ if holder == host => self.used.contains_key(&(host, disk)),
                    Hold::InUse => self.used.contains_key(&(holder, disk)),
                    Hold::Silent => self.is_silent(holder) && !self.is_declared_dead(holder),
                    Hold::OtherPool(_) | Hold::Watched(_) => false,
                }
            }
            Error::FenceFailed { .. } => !self.blocklisting,
            Error::Blocklisted { address, .. } => self.lab.sim.blocklist().contains(address),
            Error::Image(ImageError::ForeignKernel { .. }) => {
                let image = self.lab.image_id(vdi);
                let client = self.lab.sim.client();
                let watchers = sr_ceph::pool::Pool::watchers(&client, &image).unwrap();
                watchers.iter().any(sr_ceph::pool::Watcher::is_kernel)
            }
            _ => false,
        };
        assert!(justified, "host {host}, disk {disk}: {error}");
    }

    /// Checks that a refused activation leaves neither a device nor a claim.
    fn check_nothing_left(&self, host: usize, disk: usize, error: &Error) {
        if matches!(error, Error::Blocklisted { .. }) {
            return; // the device existed before, and is open
        }
        let vdi = &self.disks[disk];
        let claim = self.lab.record(vdi).unwrap().claim;
        let ours = claim.is_some_and(|claim| claim.owner.host == NAMES[host]);
        let image = self.lab.image_id(vdi);
        let left = self.lab.sim.devices(NAMES[host]).into_iter();
        let left: Vec<_> = left
            .filter(|d| d.key.image_id == image && !d.read_only)
            .collect();
        let lost = self.used.contains_key(&(host, disk));
        assert!(
            lost || (!ours && left.is_empty()),
            "{error}: {ours} {left:?}"
        );
    }

    /// Ends all faults, and checks that every host can use every disk, one after the other.
    pub fn end(mut self) {
        self.happen(Event::Blocklisting(true));
        for host in 0..HOSTS {
            self.happen(Event::Thaw(host));
            self.happen(Event::Cut { host, cut: false });
        }
        self.check_writers();
        for (host, disk) in self.used.clone().into_keys() {
            self.stop(host, disk);
        }
        // Until the watch of a kernel ends that died before its address was recorded.
        self.lab.sim.advance_seconds(31);
        for host in 0..HOSTS {
            for disk in 0..DISKS {
                self.activate(host, disk, Faults::none());
                self.check_writers();
                assert_eq!(
                    self.accepted(disk),
                    [host],
                    "cannot be used once the faults stop"
                );
                self.stop(host, disk);
            }
        }
    }
}
