//! A simulator of the hosts of a pool: their clock, their processes, paused disks, and the devices of their
//! kernels. Nothing is mapped.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sr::alarm::Report;
use sr_ceph::host::{
    Host, HostError, HostReply, KernelRelease, MapRequest, Mapped, Membership, Owner, Result,
};
use uuid::Uuid;

/// All hosts of a pool.
#[derive(Clone, Default)]
pub struct Hosts(Rc<RefCell<State>>);

/// Called with a disk.
type Look = Rc<dyn Fn(&Uuid)>;

#[derive(Default)]
struct State {
    /// Seconds that every host's clock is ahead of the real clock.
    ahead: u64,
    notes: std::collections::BTreeMap<(String, String), String>,
    /// The number of processes so far, used as start times.
    started: u64,
    running: BTreeSet<u64>,
    paused: BTreeSet<Uuid>,
    devices: BTreeMap<String, Vec<Mapped>>,
    /// The value of each key that a host has seen, and since when, in seconds since 1970.
    seen: BTreeMap<(String, String), (String, u64)>,
    at_resume: Option<Look>,
}

impl Hosts {
    /// Has a function called with each disk that is about to be resumed.
    pub fn at_resume(&self, look: impl Fn(&Uuid) + 'static) {
        self.0.borrow_mut().at_resume = Some(Rc::new(look));
    }

    /// Starts a process on a host.
    pub fn start(&self, host: &str) -> HostSim {
        let mut state = self.0.borrow_mut();
        state.started += 1;
        let started = state.started;
        state.running.insert(started);
        HostSim {
            hosts: self.clone(),
            owner: Owner {
                host: host.to_owned(),
                boot_id: "first".to_owned(),
                pid: std::process::id(),
                started,
            },
        }
    }

    /// Ends a process.
    pub fn end(&self, owner: &Owner) {
        self.0.borrow_mut().running.remove(&owner.started);
    }

    /// Lets time pass for all hosts.
    pub fn advance_seconds(&self, seconds: u64) {
        self.0.borrow_mut().ahead += seconds;
    }

    /// Returns the devices of a host's kernel.
    pub fn devices(&self, host: &str) -> Vec<Mapped> {
        let devices = &self.0.borrow().devices;
        devices.get(host).cloned().unwrap_or_default()
    }

    /// Returns the disks whose I/O is paused.
    pub fn paused(&self) -> BTreeSet<Uuid> {
        self.0.borrow().paused.clone()
    }
}

/// A process on one of the hosts.
pub struct HostSim {
    hosts: Hosts,
    owner: Owner,
}

impl Host for HostSim {
    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn now(&self) -> u64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        real.as_secs() + self.hosts.0.borrow().ahead
    }

    fn sleep(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        owner.host == self.owner.host && !self.hosts.0.borrow().running.contains(&owner.started)
    }

    fn seen_for(&self, key: &str, value: &str) -> Result<u64> {
        let now = self.now();
        let mut state = self.hosts.0.borrow_mut();
        let key = (self.owner.host.clone(), key.to_owned());
        let seen = state.seen.entry(key).or_default();
        if seen.0 != value {
            *seen = (value.to_owned(), now);
        }
        Ok(now - seen.1)
    }

    fn note(&self, name: &str, text: Option<&str>) -> Result<()> {
        let key = (self.owner.host.clone(), name.to_owned());
        let notes = &mut self.hosts.0.borrow_mut().notes;
        match text {
            Some(text) => drop(notes.insert(key, text.to_owned())),
            None => drop(notes.remove(&key)),
        }
        Ok(())
    }

    fn noted(&self, name: &str) -> Result<Option<String>> {
        let key = (self.owner.host.clone(), name.to_owned());
        Ok(self.hosts.0.borrow().notes.get(&key).cloned())
    }

    fn pool(&self) -> Result<String> {
        Ok("pool".to_owned())
    }

    fn membership(&self, _host: &str) -> Result<Membership> {
        Ok(Membership::Member)
    }

    fn ask(&self, _host: &str, _vdi: &Uuid) -> Result<Option<HostReply>> {
        Ok(None)
    }

    fn grows_in_use(&self, _vdi: &Uuid) -> Result<bool> {
        Ok(false)
    }

    fn revive(&self) -> Result<()> {
        Ok(())
    }

    fn alarm(&self, _report: &Report) -> Result<()> {
        Ok(())
    }

    fn pause_disks(&self, vdis: &[Uuid]) -> Vec<Result<()>> {
        self.hosts.0.borrow_mut().paused.extend(vdis);
        vdis.iter().map(|_| Ok(())).collect()
    }

    fn resume_disks(&self, vdis: &[Uuid]) -> Vec<Result<bool>> {
        let look = self.hosts.0.borrow().at_resume.clone();
        if let Some(look) = look {
            vdis.iter().for_each(|vdi| look(vdi));
        }
        let paused = &mut self.hosts.0.borrow_mut().paused;
        vdis.iter().map(|vdi| Ok(paused.remove(vdi))).collect()
    }

    fn is_task_over(&self, _task: &str) -> Result<bool> {
        Ok(true)
    }

    fn kernel(&self) -> Result<KernelRelease> {
        Ok(KernelRelease::running()?)
    }

    fn supported_features(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn watches_readers(&self) -> Result<bool> {
        Ok(false)
    }

    fn mappings(&self) -> Result<Vec<Mapped>> {
        let state = self.hosts.0.borrow();
        let devices = state.devices.get(&self.owner.host);
        Ok(devices.cloned().unwrap_or_default())
    }

    fn map(&self, request: &MapRequest) -> Result<Mapped> {
        let mut state = self.hosts.0.borrow_mut();
        let devices = state.devices.entry(self.owner.host.clone()).or_default();
        let same = |d: &&Mapped| d.key == request.key && d.label == request.label;
        if let Some(device) = devices.iter().find(same) {
            return Ok(device.clone());
        }
        let mapped = Mapped {
            device: PathBuf::from(format!("/dev/rbd-{}", request.key.image_id)),
            key: request.key.clone(),
            image_name: request.image_name.clone(),
            size: 0,
            read_only: request.read_only,
            client_address: String::new(),
            client_id: 0,
            label: request.label.clone(),
        };
        devices.push(mapped.clone());
        Ok(mapped)
    }

    fn unmap(&self, mapped: &Mapped, _seconds: u64) -> Result<()> {
        let mut state = self.hosts.0.borrow_mut();
        let devices = state.devices.entry(self.owner.host.clone()).or_default();
        let before = devices.len();
        devices.retain(|device| device != mapped);
        if devices.len() == before {
            return Err(HostError {
                message: format!("{} is not mapped", mapped.device.display()),
                errno: Some(nix::libc::ENOENT),
                id: None,
            });
        }
        Ok(())
    }
}
