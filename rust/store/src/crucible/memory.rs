//! XAPI, hosts and Crucible's storage in memory: what the promises of this module are tried on.
//!
//! [`World::broken`] holds every moment in which two servers of one volume were live, or one was
//! started with a generation that had been used: what never may happen, whatever fails or dies.

mod machine;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use ::crucible::Volume;
use nix::libc;
use uuid::Uuid;

use super::{Catalogue, Device, Identity, Listing, Registry, SmConfig, Source};
use crate::host::{HostError, Result};

pub use self::machine::MemoryMachine;

/// Everything outside the processes of this driver.
pub struct World {
    state: RefCell<State>,
    /// Every host's clock, in seconds since 1970.
    pub now: Cell<u64>,
    /// Whether servers that are started fail to serve.
    pub servers_fail: Cell<bool>,
}

#[derive(Default)]
struct State {
    volumes: Vec<(Volume, Source)>,
    xapi: BTreeMap<Uuid, SmConfig>,
    declared_dead: BTreeSet<String>,
    messages: Vec<(Uuid, String)>,
    down: BTreeSet<SocketAddr>,
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

impl World {
    /// The volumes that are declared. XAPI knows their VDIs, and nobody uses them.
    pub fn new(volumes: Vec<Volume>) -> Self {
        let state = State {
            xapi: volumes.iter().map(|v| (v.uuid, SmConfig::new())).collect(),
            volumes: volumes.into_iter().map(|v| (v, Source::Declared)).collect(),
            ..State::default()
        };
        World {
            state: RefCell::new(state),
            now: Cell::new(1_790_000_000),
            servers_fail: Cell::new(false),
        }
    }

    /// A process on that host, in its current boot.
    pub fn host(&self, name: &str) -> MemoryMachine<'_> {
        let mut state = self.state.borrow_mut();
        let host = state.hosts.entry(name.to_owned()).or_default();
        let identity = Identity {
            host: name.to_owned(),
            boot_id: format!("{name}-{}", host.boots),
        };
        MemoryMachine {
            world: self,
            identity,
        }
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

    /// XAPI hears from a host again.
    pub fn comes_back(&self, name: &str) {
        self.state.borrow_mut().declared_dead.remove(name);
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
    }
}

impl Registry for World {
    fn sm_config(&self, vdi: &Uuid) -> Result<Option<SmConfig>> {
        Ok(self.state.borrow().xapi.get(vdi).cloned())
    }

    fn add(&self, vdi: &Uuid, key: &str, value: &str) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        let unknown = || failure(format!("UUID_INVALID VDI {vdi}"), libc::ENOENT);
        let sm_config = state.xapi.get_mut(vdi).ok_or_else(unknown)?;
        if sm_config.contains_key(key) {
            return Ok(false);
        }
        sm_config.insert(key.to_owned(), value.to_owned());
        Ok(true)
    }

    fn remove(&self, vdi: &Uuid, key: &str) -> Result<()> {
        if let Some(sm_config) = self.state.borrow_mut().xapi.get_mut(vdi) {
            sm_config.remove(key);
        }
        Ok(())
    }

    fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>> {
        Ok(self.state.borrow().xapi.clone().into_iter().collect())
    }

    fn is_declared_dead(&self, host: &str) -> Result<bool> {
        Ok(self.state.borrow().declared_dead.contains(host))
    }

    fn tell(&self, vdi: &Uuid, title: &str, _text: &str) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.messages.push((*vdi, title.to_owned()));
        Ok(())
    }
}

impl Catalogue for World {
    fn list(&self) -> super::Result<Listing> {
        Ok(Listing {
            volumes: self.state.borrow().volumes.clone(),
            total: None,
            free: None,
        })
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
