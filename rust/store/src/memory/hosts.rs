//! A process on a host, and the host's kernel.

use uuid::Uuid;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use nix::errno::Errno;
use nix::libc;

use super::cluster::fsid;
use super::report::{POOL_ID, POOL_NAME};
use super::{State, World};
use crate::cluster::Watcher;
use crate::host::{Host, HostError, ImageKey, MapRequest, Mapped, Owner, Result};
use crate::image_features::ImageFeatures;

/// Kernel clients number their watches from here.
const FIRST_KERNEL_COOKIE: u64 = 0xffff_0000_0000_0001;

/// The one client that a kernel is, for all its devices.
#[derive(Clone)]
pub(super) struct Kernel {
    pub address: String,
    pub client_id: u64,
}

struct Device {
    mapped: Mapped,
    cookie: u64,
    open: bool,
}

pub(super) struct HostState {
    boot_id: String,
    pub kernel: Kernel,
    /// Pid and start time of those that run.
    pub processes: BTreeSet<(u32, u64)>,
    pub declared_dead: bool,
    pub supported_features: Option<u64>,
    devices: BTreeMap<u64, Device>,
    maps: u64,
}

impl HostState {
    pub fn boot(state: &mut State) -> Self {
        let number = state.number();
        HostState {
            boot_id: format!("boot-{number}"),
            kernel: Kernel {
                address: format!("127.0.0.1:0/{number}"),
                client_id: number,
            },
            processes: BTreeSet::new(),
            declared_dead: false,
            supported_features: Some(ImageFeatures::DEFAULT.bits()),
            devices: BTreeMap::new(),
            maps: 0,
        }
    }

    pub fn devices(&self) -> Vec<Mapped> {
        self.devices.values().map(|d| d.mapped.clone()).collect()
    }

    fn device(&mut self, path: &Path) -> Option<&mut Device> {
        self.devices.values_mut().find(|d| d.mapped.device == path)
    }

    pub fn set_open(&mut self, path: &Path, open: bool) {
        if let Some(device) = self.device(path) {
            device.open = open;
        }
    }

    pub fn rename_device(&mut self, path: &Path, image_name: &str) {
        if let Some(device) = self.device(path) {
            device.mapped.image_name = image_name.to_owned();
        }
    }

    /// What a write to that device reaches.
    pub fn writable(&self, path: &Path) -> Result<ImageKey> {
        let mut devices = self.devices.values();
        match devices.find(|d| d.mapped.device == path) {
            None => Err(failure("write to", path.display(), libc::ENXIO)),
            Some(device) if device.mapped.read_only => {
                Err(failure("write to", path.display(), libc::EROFS))
            }
            Some(device) => Ok(device.mapped.key.clone()),
        }
    }
}

pub(super) fn failure(what: &str, object: impl Display, errno: i32) -> HostError {
    HostError {
        message: format!("cannot {what} {object}: {}", Errno::from_raw(errno).desc()),
        errno: Some(errno),
    }
}

/// A process on a host of a [`World`].
#[derive(Clone)]
pub struct MemoryHost {
    world: World,
    owner: Owner,
}

impl MemoryHost {
    pub(super) fn start(world: World, host: &str) -> Self {
        let owner = {
            let mut state = world.lock();
            if !state.hosts.contains_key(host) {
                let booted = HostState::boot(&mut state);
                state.hosts.insert(host.to_owned(), booted);
            }
            let number = state.number();
            // Pids are used again, start times are not.
            let process = (u32::try_from(number % 30_000).unwrap_or_default(), number);
            let mut boot_id = String::new();
            if let Some(known) = state.hosts.get_mut(host) {
                known.processes.insert(process);
                boot_id.clone_from(&known.boot_id);
            }
            Owner {
                host: host.to_owned(),
                boot_id,
                pid: process.0,
                started: process.1,
            }
        };
        MemoryHost { world, owner }
    }

    /// The world, as long as this process can do anything in it.
    fn alive(&self, what: &str, object: impl Display) -> Result<MutexGuard<'_, State>> {
        let state = self.world.lock();
        match state.hosts.get(&self.owner.host) {
            Some(host) if host.boot_id == self.owner.boot_id => Ok(state),
            _ => Err(failure(what, object, libc::ESRCH)),
        }
    }

    fn with_host<T>(
        &self,
        what: &str,
        object: impl Display + Copy,
        act: impl FnOnce(&mut HostState) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.alive(what, object)?;
        let host = state.hosts.get_mut(&self.owner.host);
        act(host.ok_or_else(|| failure(what, object, libc::ESRCH))?)
    }

    /// Maps whatever image has that name now, for writing.
    pub(super) fn map_named(&self, image_name: &str) -> Result<Mapped> {
        let id = {
            let state = self.alive("map", image_name)?;
            state.pool.directory.get(image_name).cloned()
        };
        self.map(&MapRequest {
            key: ImageKey {
                fsid: fsid(),
                pool_id: POOL_ID,
                image_id: id.ok_or_else(|| failure("map", image_name, libc::ENOENT))?,
                snap_id: None,
            },
            pool_name: POOL_NAME.to_owned(),
            image_name: image_name.to_owned(),
            snap_name: None,
            read_only: false,
        })
    }

    fn add(&self, request: &MapRequest) -> Result<Mapped> {
        let fail = |errno| failure("map", &request.image_name, errno);
        let mut state = self.alive("map", &request.image_name)?;
        // The kernel is told a name, and takes whatever image has it.
        let id = state.pool.directory.get(&request.image_name).cloned();
        let id = id.ok_or_else(|| fail(libc::ENOENT))?;
        if id != request.key.image_id {
            return Err(fail(libc::ESTALE));
        }
        let image = state
            .pool
            .images
            .get(&id)
            .ok_or_else(|| fail(libc::ENOENT))?;
        let (size, features) = (image.size, image.features);
        let host = state.hosts.get_mut(&self.owner.host);
        let host = host.ok_or_else(|| fail(libc::ESRCH))?;
        if host
            .supported_features
            .is_some_and(|known| features & !known != 0)
        {
            return Err(fail(libc::ENXIO));
        }
        let number = (0..)
            .find(|n| !host.devices.contains_key(n))
            .unwrap_or_default();
        let cookie = FIRST_KERNEL_COOKIE + host.maps;
        host.maps += 1;
        let mapped = Mapped {
            device: PathBuf::from(format!("/dev/rbd{number}")),
            key: request.key.clone(),
            image_name: request.image_name.clone(),
            size,
            read_only: request.read_only,
            client_address: host.kernel.address.clone(),
            client_id: host.kernel.client_id,
        };
        let device = Device {
            mapped: mapped.clone(),
            cookie,
            open: false,
        };
        host.devices.insert(number, device);
        let watcher = Watcher {
            address: mapped.client_address.clone(),
            client_id: mapped.client_id,
            cookie,
        };
        if !request.read_only {
            state.pool.watch(&id, watcher);
        }
        Ok(mapped)
    }
}

impl Host for MemoryHost {
    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn now(&self) -> u64 {
        self.world.lock().clock / 1000
    }

    fn pause(&self, milliseconds: u64) {
        self.world.lock().advance(milliseconds);
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        if owner.host != self.owner.host {
            return false;
        }
        let state = self.world.lock();
        state.hosts.get(&owner.host).is_none_or(|host| {
            host.boot_id != owner.boot_id || !host.processes.contains(&(owner.pid, owner.started))
        })
    }

    fn is_declared_dead(&self, host: &str) -> Result<bool> {
        let state = self.alive("ask XAPI about", host)?;
        Ok(state.hosts.get(host).is_some_and(|host| host.declared_dead))
    }

    fn supported_features(&self) -> Result<Option<u64>> {
        self.with_host("read", "supported_features", |host| {
            Ok(host.supported_features)
        })
    }

    fn mappings(&self) -> Result<Vec<Mapped>> {
        self.with_host("list", "devices", |host| Ok(host.devices()))
    }

    fn pause_disk(&self, vdi: &Uuid) -> Result<()> {
        self.alive("pause", vdi)?.paused.insert(*vdi);
        Ok(())
    }

    fn resume_disk(&self, vdi: &Uuid) -> Result<()> {
        self.alive("resume", vdi)?.paused.remove(vdi);
        Ok(())
    }

    fn map(&self, request: &MapRequest) -> Result<Mapped> {
        let found = self.mappings()?.into_iter().find(|m| m.key == request.key);
        match found {
            Some(found) if request.read_only || !found.read_only => Ok(found),
            Some(read_only) => {
                self.unmap(&read_only)?;
                self.add(request)
            }
            None => self.add(request),
        }
    }

    fn unmap(&self, mapped: &Mapped) -> Result<()> {
        let device = mapped.device.display();
        let mut state = self.alive("unmap", device.to_string())?;
        let host = state.hosts.get_mut(&self.owner.host);
        let devices = host.map(|host| &mut host.devices);
        let missing = || failure("unmap", mapped.device.display(), libc::ENOENT);
        let devices = devices.ok_or_else(missing)?;
        let number = devices
            .iter()
            .find(|(_, d)| d.mapped.device == mapped.device && d.mapped.key == mapped.key)
            .map(|(number, d)| (*number, d.open));
        match number {
            None => Err(missing()),
            Some((_, true)) => Err(failure("unmap", mapped.device.display(), libc::EBUSY)),
            Some((number, false)) => {
                if let Some(gone) = devices.remove(&number) {
                    state.pool.unwatch(&gone.mapped.client_address, gone.cookie);
                }
                Ok(())
            }
        }
    }
}
