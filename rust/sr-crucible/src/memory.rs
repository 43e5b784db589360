//! The model: XAPI, hosts and Crucible's storage in memory, for the tests of the engine.
//!
//! [`Sim::broken`] records each time that two servers of one volume were live, or that a server was started
//! with a used generation. Neither may happen after any fault.

mod host;
mod xapi;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use crucible_host::Volume;
use sr::alarm::memory::MemoryBoard;
use sr::host::HostError;
use uuid::Uuid;

use super::{Device, HostId, Inventory, Listing, SmConfig, Source};

pub use self::host::MemoryHost;

/// Everything outside the processes of this driver.
pub struct Sim {
    state: RefCell<State>,
    /// Every host's clock, in seconds since 1970.
    pub now: Cell<u64>,
    /// Whether servers that are started fail to serve.
    pub servers_fail: Cell<bool>,
    /// Whether the plugin of each host fails when it is called.
    pub plugins_fail: Cell<bool>,
    /// Whether a sled does not reply: the list of volumes cannot be read.
    pub a_sled_is_away: Cell<bool>,
    /// XAPI's messages.
    pub board: MemoryBoard,
    /// UUID of the XAPI pool.
    pub pool: RefCell<String>,
}

#[derive(Default)]
struct State {
    volumes: Vec<(Volume, Source)>,
    xapi: BTreeMap<Uuid, SmConfig>,
    declared_dead: BTreeSet<String>,
    down: BTreeSet<SocketAddr>,
    /// The boot that each host has published.
    published: BTreeMap<String, String>,
    /// Hosts that XAPI cannot reach.
    silent: BTreeSet<String>,
    /// Hosts that XAPI has forgotten.
    forgotten: BTreeSet<String>,
    /// The key that each host has for a volume.
    keys: BTreeMap<(String, Uuid), String>,
    /// The states of its targets that a server reports.
    downstairs: Vec<String>,
    /// The size that each target reports for its region.
    sizes: BTreeMap<SocketAddr, u64>,
    /// The UUID that each target reports for its region.
    regions: BTreeMap<SocketAddr, Uuid>,
    hosts: BTreeMap<String, HostState>,
    highest: BTreeMap<Uuid, u64>,
    broken: Vec<String>,
}

#[derive(Default)]
struct HostState {
    boots: u64,
    reserved: BTreeSet<Uuid>,
    servers: BTreeMap<Uuid, Process>,
    devices: BTreeMap<Uuid, Device>,
    open: BTreeSet<Uuid>,
    /// VDIs that SM has activated, or is activating, there.
    used: BTreeSet<Uuid>,
    locked: Rc<RefCell<BTreeSet<Uuid>>>,
}

struct Process {
    generation: u64,
    state: Life,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Serving,
    Fenced,
    Dead,
}

impl Sim {
    /// A model with these declared volumes. XAPI has their VDIs, and no host uses them.
    pub fn new(volumes: Vec<Volume>) -> Self {
        let state = State {
            xapi: volumes.iter().map(|v| (v.uuid, SmConfig::new())).collect(),
            volumes: volumes.into_iter().map(|v| (v, Source::Declared)).collect(),
            ..State::default()
        };
        Sim {
            state: RefCell::new(state),
            now: Cell::new(1_790_000_000),
            servers_fail: Cell::new(false),
            plugins_fail: Cell::new(false),
            a_sled_is_away: Cell::new(false),
            board: MemoryBoard::default(),
            pool: RefCell::new("pool".to_owned()),
        }
    }

    /// A process on that host, in its current boot.
    pub fn host(&self, name: &str) -> MemoryHost<'_> {
        let mut state = self.state.borrow_mut();
        let host = state.hosts.entry(name.to_owned()).or_default();
        let id = HostId {
            host: name.to_owned(),
            boot_id: format!("{name}-{}", host.boots),
        };
        MemoryHost { sim: self, id }
    }

    /// Cuts a host's power. It is up again at once. A declaration that it is dead stays until
    /// [`Self::comes_back`].
    pub fn power_cycle(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        let host = state.hosts.entry(name.to_owned()).or_default();
        *host = HostState {
            boots: host.boots + 1,
            ..HostState::default()
        };
    }

    /// Declares a host dead.
    pub fn declare_dead(&self, name: &str) {
        self.state
            .borrow_mut()
            .declared_dead
            .insert(name.to_owned());
    }

    /// Removes the note that a host was declared dead.
    pub fn comes_back(&self, name: &str) {
        self.state.borrow_mut().declared_dead.remove(name);
    }

    /// Removes a host from the pool.
    pub fn forget_host(&self, name: &str) {
        self.state.borrow_mut().forgotten.insert(name.to_owned());
    }

    /// Sets the key that a host has for a volume.
    pub fn set_key(&self, host: &str, vdi: &Uuid, key: &str) {
        let mut state = self.state.borrow_mut();
        state.keys.insert((host.to_owned(), *vdi), key.to_owned());
    }

    /// Locks a volume on a host, as a command does, until the returned lock is dropped.
    pub fn work_on(&self, host: &str, vdi: &Uuid) -> Box<dyn std::any::Any> {
        super::Host::lock(&self.host(host), vdi).unwrap_or_else(|e| Box::new(e.message))
    }

    /// Removes a VDI from XAPI, and introduces it again.
    pub fn forget_and_introduce(&self, vdi: &Uuid) {
        self.state.borrow_mut().xapi.insert(*vdi, SmConfig::new());
    }

    /// XAPI forgets a VDI.
    pub fn forget_vdi(&self, vdi: &Uuid) {
        self.state.borrow_mut().xapi.remove(vdi);
    }

    /// Adds a volume that a provisioner made.
    pub fn provision(&self, volume: Volume) {
        let mut state = self.state.borrow_mut();
        state.xapi.insert(volume.uuid, SmConfig::new());
        state.volumes.push((volume, Source::Provisioned));
    }

    /// Removes a volume from the lists.
    pub fn take_off_the_list(&self, vdi: &Uuid) {
        let mut state = self.state.borrow_mut();
        state.volumes.retain(|(volume, _)| volume.uuid != *vdi);
    }

    /// Sets the region that a target serves.
    pub fn set_region(&self, target: SocketAddr, region: Uuid) {
        self.state.borrow_mut().regions.insert(target, region);
    }

    /// Sets the size of a target's region.
    pub fn set_size(&self, target: SocketAddr, size: u64) {
        self.state.borrow_mut().sizes.insert(target, size);
    }

    /// Sets the states of their targets that servers report.
    pub fn set_downstairs(&self, states: [&str; 3]) {
        self.state.borrow_mut().downstairs = states.map(str::to_owned).to_vec();
    }

    /// Sets whether a target is down.
    pub fn set_down(&self, target: SocketAddr, down: bool) {
        let mut state = self.state.borrow_mut();
        if down {
            state.down.insert(target);
        } else {
            state.down.remove(&target);
        }
    }

    /// Kills a server's process.
    pub fn kill_server(&self, host: &str, vdi: &Uuid) {
        let mut state = self.state.borrow_mut();
        let host = state.hosts.get_mut(host);
        if let Some(host) = host {
            if let Some(server) = host.servers.get_mut(vdi) {
                server.state = Life::Dead;
            }
            if let Some(device) = host.devices.get_mut(vdi) {
                device.connected = false;
            }
        }
    }

    /// Removes a volume's device from a host, and leaves its server: as after a kill between the two.
    pub fn lose_device(&self, host: &str, vdi: &Uuid) {
        let mut state = self.state.borrow_mut();
        if let Some(host) = state.hosts.get_mut(host) {
            host.devices.remove(vdi);
        }
    }

    /// Opens or closes a volume's device.
    pub fn set_open(&self, host: &str, vdi: &Uuid, open: bool) {
        let mut state = self.state.borrow_mut();
        let users = &mut state.hosts.entry(host.to_owned()).or_default().open;
        if open {
            users.insert(*vdi);
        } else {
            users.remove(vdi);
        }
    }

    /// Sets whether SM has activated a VDI on a host, or is activating it.
    pub fn set_used(&self, host: &str, vdi: &Uuid, used: bool) {
        let mut state = self.state.borrow_mut();
        let vdis = &mut state.hosts.entry(host.to_owned()).or_default().used;
        if used {
            vdis.insert(*vdi);
        } else {
            vdis.remove(vdi);
        }
    }

    /// Returns whether SM has activated a VDI on a host, or is activating it.
    pub fn is_used(&self, host: &str, vdi: &Uuid) -> bool {
        let state = self.state.borrow();
        let host = state.hosts.get(host);
        host.is_some_and(|host| host.used.contains(vdi))
    }

    /// Sets whether XAPI can reach a host.
    pub fn set_reachable(&self, host: &str, reachable: bool) {
        let mut state = self.state.borrow_mut();
        if reachable {
            state.silent.remove(host);
        } else {
            state.silent.insert(host.to_owned());
        }
    }

    /// Returns each violation so far.
    pub fn broken(&self) -> Vec<String> {
        self.state.borrow().broken.clone()
    }

    /// Returns the hosts that serve a volume, with the generations of their servers.
    pub fn serving(&self, vdi: &Uuid) -> Vec<(String, u64)> {
        let state = self.state.borrow();
        let servers = state.hosts.iter().filter_map(|(name, host)| {
            let server = host.servers.get(vdi)?;
            (server.state == Life::Serving).then(|| (name.clone(), server.generation))
        });
        servers.collect()
    }

    /// Returns what hosts have of a volume: servers, devices, ports.
    pub fn left(&self, vdi: &Uuid) -> Vec<String> {
        let state = self.state.borrow();
        let mut left = Vec::new();
        for (name, host) in &state.hosts {
            let parts = [
                (host.servers.contains_key(vdi), "a server"),
                (host.devices.contains_key(vdi), "a device"),
                (host.reserved.contains(vdi), "ports"),
            ];
            let parts = parts.into_iter().filter(|(there, _)| *there);
            left.extend(parts.map(|(_, what)| format!("{name} has {what}")));
        }
        left
    }
}

fn failure(message: String, errno: i32) -> HostError {
    HostError {
        message,
        errno: Some(errno),
        id: None,
    }
}

impl Inventory for Sim {
    fn list(&self) -> super::Result<Listing> {
        if self.a_sled_is_away.get() {
            return Err(super::Error::NoProvisioner {
                what: "list disks: a sled is away",
            });
        }
        Ok(Listing {
            volumes: self.state.borrow().volumes.clone(),
            total: None,
            free: None,
        })
    }

    fn find(&self, vdi: &Uuid) -> super::Result<(Volume, Source)> {
        let state = self.state.borrow();
        let found = state.volumes.iter().find(|(volume, _)| volume.uuid == *vdi);
        found
            .cloned()
            .ok_or(super::Error::VolumeMissing { vdi: *vdi })
    }

    fn create(&self, _vdi: &Uuid, _name: &str, _size: u64) -> super::Result<Volume> {
        Err(super::Error::NoProvisioner { what: "create" })
    }

    fn copy(&self, source: &Volume, vdi: &Uuid) -> super::Result<Volume> {
        let serving = self.serving(&source.uuid);
        let mut state = self.state.borrow_mut();
        if !serving.is_empty() {
            state
                .broken
                .push(format!("copied while served: {serving:?}"));
        }
        let copy = Volume {
            uuid: *vdi,
            ..source.clone()
        };
        state.volumes.push((copy.clone(), Source::Provisioned));
        Ok(copy)
    }

    fn delete(&self, volume: &Volume) -> super::Result<()> {
        let serving = self.serving(&volume.uuid);
        let mut state = self.state.borrow_mut();
        if !serving.is_empty() {
            state
                .broken
                .push(format!("deleted while served: {serving:?}"));
        }
        state.volumes.retain(|(other, _)| other.uuid != volume.uuid);
        Ok(())
    }
}
