//! A process on a host in memory, its servers and its devices.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use crucible_host::target::TargetState;
use crucible_host::Volume;
use nix::libc;
use sr::host::Result;
use uuid::Uuid;

use super::{failure, HostState, Life, Process, Sim, State};
use crate::{Device, Host, HostId, Server};

/// A process on a host.
pub struct MemoryHost<'w> {
    pub(super) sim: &'w Sim,
    pub(super) id: HostId,
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

impl MemoryHost<'_> {
    fn change<T>(&self, work: impl FnOnce(&mut HostState) -> Result<T>) -> Result<T> {
        let mut state = self.sim.state.borrow_mut();
        let name = self.id.host.clone();
        work(state.hosts.entry(name).or_default())
    }
}

impl State {
    /// Starts a server as Crucible does, and records violations.
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
            let dead = self.declared_dead.contains(name) || self.forgotten.contains(name);
            if other.state == Life::Serving && !dead {
                let text = format!("{me} started a server while {name} had one");
                self.broken.push(text);
            }
            other.state = Life::Fenced;
        }
    }
}

impl Host for MemoryHost<'_> {
    fn id(&self) -> &HostId {
        &self.id
    }

    fn now(&self) -> u64 {
        self.sim.now.get()
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

    fn try_lock(&self, vdi: &Uuid) -> Result<Option<Box<dyn Any>>> {
        Ok(self.lock(vdi).ok())
    }

    fn fingerprint(&self, volume: &Volume) -> Result<Option<String>> {
        let state = self.sim.state.borrow();
        let named = (self.id.host.clone(), volume.uuid);
        Ok(state.keys.get(&named).cloned())
    }

    fn check_program(&self) -> Result<()> {
        Ok(())
    }

    fn check_kernel(&self) -> Result<()> {
        Ok(())
    }

    fn probe(&self, targets: &[SocketAddr]) -> Vec<TargetState> {
        let state = self.sim.state.borrow();
        let probed = targets.iter().map(|target| {
            if state.down.contains(target) {
                return TargetState::Down("connection refused".to_owned());
            }
            TargetState::Up {
                read_only: Some(false),
                size: state.sizes.get(target).copied(),
                encrypted: None,
                region: state.regions.get(target).copied(),
            }
        });
        probed.collect()
    }

    fn server(&self, vdi: &Uuid) -> Result<Server> {
        let downstairs = self.sim.state.borrow().downstairs.clone();
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
                downstairs,
            })
        })
    }

    fn reserve(&self, volume: &Volume) -> Result<()> {
        self.change(|host| {
            host.reserved.insert(volume.uuid);
            Ok(())
        })
    }

    fn start(&self, volume: &Volume, generation: u64, fingerprint: Option<&str>) -> Result<()> {
        let vdi = volume.uuid;
        if self.fingerprint(volume)?.as_deref() != fingerprint {
            return Err(failure("the key was replaced".to_owned(), libc::EIO));
        }
        let reserved = self.change(|host| Ok(host.reserved.contains(&vdi)))?;
        if !reserved {
            return Err(failure("no ports are reserved".to_owned(), libc::ENOENT));
        }
        let mut state = self.sim.state.borrow_mut();
        state.start(&self.id.host, &vdi, generation);
        let fails = self.sim.servers_fail.get();
        let server = Process {
            generation,
            state: if fails { Life::Dead } else { Life::Serving },
        };
        let host = state.hosts.entry(self.id.host.clone()).or_default();
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
