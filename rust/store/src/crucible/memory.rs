//! XAPI, hosts and Crucible's storage in memory: what the promises of this module are tried on.
//!
//! [`World::broken`] holds every moment in which two servers of one volume were live, or one was
//! started with a generation that had been used: what never may happen, whatever fails or dies.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use ::crucible::target::TargetState;
use ::crucible::Volume;
use nix::libc;
use uuid::Uuid;

use super::{Catalogue, Device, Identity, Listing, Machine, Registry, Server, SmConfig, Source};
use crate::host::{HostError, Result};

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

/// A process on a host.
pub struct MemoryMachine<'w> {
    world: &'w World,
    identity: Identity,
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

    /// A target stops answering, or answers again.
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

struct Locked {
    vdi: Uuid,
    locks: Rc<RefCell<BTreeSet<Uuid>>>,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.locks.borrow_mut().remove(&self.vdi);
    }
}

impl MemoryMachine<'_> {
    fn change<T>(&self, work: impl FnOnce(&mut HostState) -> Result<T>) -> Result<T> {
        let mut state = self.world.state.borrow_mut();
        let name = self.identity.host.clone();
        work(state.hosts.entry(name).or_default())
    }
}

impl State {
    /// What Crucible does when a server starts; what must not happen is noted.
    fn start(&mut self, me: &str, vdi: &Uuid, generation: u64) {
        let highest = self.highest.insert(*vdi, generation).unwrap_or(0);
        if generation <= highest {
            let text = format!("{me} started generation {generation} after {highest}");
            self.broken.push(text);
        }
        for (name, host) in &mut self.hosts {
            let Some(other) = host.servers.get_mut(vdi) else {
                continue;
            };
            if other.state == Life::Serving && !self.declared_dead.contains(name) {
                let text = format!("{me} started a server while {name} had one");
                self.broken.push(text);
            }
            other.state = Life::Fenced;
        }
    }
}

impl Machine for MemoryMachine<'_> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn now(&self) -> u64 {
        self.world.now.get()
    }

    fn lock(&self, vdi: &Uuid) -> Result<Box<dyn Any>> {
        self.change(|host| {
            let locks = Rc::clone(&host.locked);
            if !locks.borrow_mut().insert(*vdi) {
                return Err(failure(format!("VDI {vdi} is locked"), libc::ETIMEDOUT));
            }
            Ok(Box::new(Locked { vdi: *vdi, locks }) as Box<dyn Any>)
        })
    }

    fn check_program(&self) -> Result<()> {
        Ok(())
    }

    fn probe(&self, targets: &[SocketAddr]) -> Vec<TargetState> {
        let state = self.world.state.borrow();
        let probed = targets.iter().map(|target| {
            if state.down.contains(target) {
                return TargetState::Down("connection refused".to_owned());
            }
            TargetState::Up {
                read_only: Some(false),
                size: None,
                encrypted: None,
            }
        });
        probed.collect()
    }

    fn server(&self, vdi: &Uuid) -> Result<Server> {
        self.change(|host| {
            let Some(server) = host.servers.get(vdi) else {
                return Ok(if host.reserved.contains(vdi) {
                    Server::Ended {
                        how: "it was never started".to_owned(),
                    }
                } else {
                    Server::Absent
                });
            };
            let serving = match server.state {
                Life::Serving => Ok(()),
                Life::Fenced => Err("fenced".to_owned()),
                Life::Dead => {
                    return Ok(Server::Ended {
                        how: "killed by signal 9".to_owned(),
                    })
                }
            };
            Ok(Server::Running {
                generation: server.generation,
                serving,
            })
        })
    }

    fn reserve(&self, volume: &Volume) -> Result<()> {
        self.change(|host| {
            host.reserved.insert(volume.uuid);
            Ok(())
        })
    }

    fn start(&self, volume: &Volume, generation: u64) -> Result<()> {
        let vdi = volume.uuid;
        let reserved = self.change(|host| Ok(host.reserved.contains(&vdi)))?;
        if !reserved {
            return Err(failure("no ports are reserved".to_owned(), libc::ENOENT));
        }
        let mut state = self.world.state.borrow_mut();
        state.start(&self.identity.host, &vdi, generation);
        let fails = self.world.servers_fail.get();
        let server = Process {
            generation,
            state: if fails { Life::Dead } else { Life::Serving },
        };
        let host = state.hosts.entry(self.identity.host.clone()).or_default();
        host.servers.insert(vdi, server);
        if fails {
            return Err(failure("the server ended".to_owned(), libc::EIO));
        }
        Ok(())
    }

    fn stop(&self, vdi: &Uuid) -> Result<()> {
        self.change(|host| {
            if host.servers.remove(vdi).is_some() {
                if let Some(device) = host.devices.get_mut(vdi) {
                    device.connected = false;
                }
            }
            Ok(())
        })
    }

    fn remove(&self, vdi: &Uuid) -> Result<()> {
        self.change(|host| {
            host.reserved.remove(vdi);
            Ok(())
        })
    }

    fn device(&self, vdi: &Uuid) -> Result<Option<Device>> {
        self.change(|host| Ok(host.devices.get(vdi).cloned()))
    }

    fn connect(&self, volume: &Volume, read_only: bool) -> Result<Device> {
        self.change(|host| {
            let serving = |server: &Process| server.state == Life::Serving;
            if !host.servers.get(&volume.uuid).is_some_and(serving) {
                let text = format!("no server for VDI {}", volume.uuid);
                return Err(failure(text, libc::ECONNREFUSED));
            }
            let device = Device {
                path: PathBuf::from(format!("/dev/nbd{}", host.devices.len())),
                size: volume.size,
                read_only,
                connected: true,
            };
            host.devices.insert(volume.uuid, device.clone());
            Ok(device)
        })
    }

    fn disconnect(&self, vdi: &Uuid) -> Result<()> {
        self.change(|host| {
            if host.devices.contains_key(vdi) && host.open.contains(vdi) {
                return Err(failure(format!("VDI {vdi} is open"), libc::EBUSY));
            }
            host.devices.remove(vdi);
            Ok(())
        })
    }
}
