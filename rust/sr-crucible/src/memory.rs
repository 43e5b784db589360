//! XAPI, hosts and Crucible's storage in memory: what the promises of this crate are tried on.
//!
//! [`Sim::broken`] holds every moment in which two servers of one volume were live, or one was
//! started with a generation that had been used: what never may happen, whatever fails or dies.

mod host;
mod xapi;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use crucible_host::Volume;
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
    /// Whether hosts that are asked fail to find out.
    pub plugins_fail: Cell<bool>,
    /// Whether not all storage machines reply: no list of volumes is whole.
    pub a_sled_is_away: Cell<bool>,
    /// UUID of the pool whose XAPI this is.
    pub pool: RefCell<String>,
}

#[derive(Default)]
struct State {
    volumes: Vec<(Volume, Source)>,
    xapi: BTreeMap<Uuid, SmConfig>,
    declared_dead: BTreeSet<String>,
    messages: Vec<(Uuid, String)>,
    down: BTreeSet<SocketAddr>,
    /// The boot that each host has published.
    published: BTreeMap<String, String>,
    /// Hosts that XAPI cannot reach.
    silent: BTreeSet<String>,
    /// Hosts that XAPI does not know any more.
    forgotten: BTreeSet<String>,
    /// The key that each host has for a volume.
    keys: BTreeMap<(String, Uuid), String>,
    /// What a server says about its targets.
    downstairs: Vec<String>,
    /// The size of each target's region, if it tells.
    sizes: BTreeMap<SocketAddr, u64>,
    /// The region that each target serves, if it tells.
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
    /// The volumes that are declared. XAPI knows their VDIs, and nobody uses them.
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

    /// Cuts a host's power. It is up again at once; declared dead it stays until
    /// [`Self::comes_back`].
    pub fn power_cycle(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        let host = state.hosts.entry(name.to_owned()).or_default();
        *host = HostState {
            boots: host.boots + 1,
            ..HostState::default()
        };
    }

    /// XAPI takes a host for dead.
    pub fn declare_dead(&self, name: &str) {
        self.state
            .borrow_mut()
            .declared_dead
            .insert(name.to_owned());
    }

    /// The note that a host was declared dead is removed, and nothing else.
    pub fn comes_back(&self, name: &str) {
        self.state.borrow_mut().declared_dead.remove(name);
    }

    /// XAPI forgets a host, which does not run.
    pub fn forget_host(&self, name: &str) {
        self.state.borrow_mut().forgotten.insert(name.to_owned());
    }

    /// A host has that key for a volume.
    pub fn set_key(&self, host: &str, vdi: &Uuid, key: &str) {
        let mut state = self.state.borrow_mut();
        state.keys.insert((host.to_owned(), *vdi), key.to_owned());
    }

    /// A process works on a volume on that host until what is returned is dropped.
    pub fn work_on(&self, host: &str, vdi: &Uuid) -> Box<dyn std::any::Any> {
        super::Host::lock(&self.host(host), vdi).unwrap_or_else(|e| Box::new(e.message))
    }

    /// XAPI forgets a VDI and hears of it again.
    pub fn forget_and_introduce(&self, vdi: &Uuid) {
        self.state.borrow_mut().xapi.insert(*vdi, SmConfig::new());
    }

    /// A volume that a provisioner made.
    pub fn provision(&self, volume: Volume) {
        let mut state = self.state.borrow_mut();
        state.xapi.insert(volume.uuid, SmConfig::new());
        state.volumes.push((volume, Source::Provisioned));
    }

    /// A volume is in no list any more.
    pub fn take_off_the_list(&self, vdi: &Uuid) {
        let mut state = self.state.borrow_mut();
        state.volumes.retain(|(volume, _)| volume.uuid != *vdi);
    }

    /// Lets a target serve that region.
    pub fn set_region(&self, target: SocketAddr, region: Uuid) {
        self.state.borrow_mut().regions.insert(target, region);
    }

    /// Lets a target's region be of that size.
    pub fn set_size(&self, target: SocketAddr, size: u64) {
        self.state.borrow_mut().sizes.insert(target, size);
    }

    /// Lets servers say that about their targets.
    pub fn set_downstairs(&self, states: [&str; 3]) {
        self.state.borrow_mut().downstairs = states.map(str::to_owned).to_vec();
    }

    /// A target stops replying, or replies again.
    pub fn set_down(&self, target: SocketAddr, down: bool) {
        let mut state = self.state.borrow_mut();
        if down {
            state.down.insert(target);
        } else {
            state.down.remove(&target);
        }
    }

    /// A server's process dies by itself.
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

    /// A host has a volume's server without a device, as after a kill between the two.
    pub fn lose_device(&self, host: &str, vdi: &Uuid) {
        let mut state = self.state.borrow_mut();
        if let Some(host) = state.hosts.get_mut(host) {
            host.devices.remove(vdi);
        }
    }

    /// Somebody opens or closes a volume's device.
    pub fn set_open(&self, host: &str, vdi: &Uuid, open: bool) {
        let mut state = self.state.borrow_mut();
        let users = &mut state.hosts.entry(host.to_owned()).or_default().open;
        if open {
            users.insert(*vdi);
        } else {
            users.remove(vdi);
        }
    }

    /// SM has activated a VDI on a host, or is about to; or no more.
    pub fn set_used(&self, host: &str, vdi: &Uuid, used: bool) {
        let mut state = self.state.borrow_mut();
        let vdis = &mut state.hosts.entry(host.to_owned()).or_default().used;
        if used {
            vdis.insert(*vdi);
        } else {
            vdis.remove(vdi);
        }
    }

    /// Whether it has.
    pub fn is_used(&self, host: &str, vdi: &Uuid) -> bool {
        let state = self.state.borrow();
        let host = state.hosts.get(host);
        host.is_some_and(|host| host.used.contains(vdi))
    }

    /// XAPI can reach a host, or not.
    pub fn set_reachable(&self, host: &str, reachable: bool) {
        let mut state = self.state.borrow_mut();
        if reachable {
            state.silent.remove(host);
        } else {
            state.silent.insert(host.to_owned());
        }
    }

    /// What must never happen and did.
    pub fn broken(&self) -> Vec<String> {
        self.state.borrow().broken.clone()
    }

    /// The hosts that serve a volume, with the generations of their servers.
    pub fn serving(&self, vdi: &Uuid) -> Vec<(String, u64)> {
        let state = self.state.borrow();
        let servers = state.hosts.iter().filter_map(|(name, host)| {
            let server = host.servers.get(vdi)?;
            (server.state == Life::Serving).then(|| (name.clone(), server.generation))
        });
        servers.collect()
    }

    /// Whatever hosts hold of a volume: servers, devices, ports.
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

    /// The titles of the messages about a VDI.
    pub fn messages(&self, vdi: &Uuid) -> Vec<String> {
        let state = self.state.borrow();
        let about = state.messages.iter().filter(|(of, _)| of == vdi);
        about.map(|(_, title)| title.clone()).collect()
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
