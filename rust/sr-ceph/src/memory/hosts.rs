//! A process on a host, and the host's kernel.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::MutexGuard;

use nix::errno::Errno;
use nix::libc;
use sr::alarm::{update, Report};
use uuid::Uuid;

use super::client::fsid;
use super::host_state::{Device, HostState, Kernel, FIRST_KERNEL_COOKIE};
use super::report::{POOL_ID, POOL_NAME};
use super::{Sim, State};
use crate::host::{
    Host, HostError, HostReply, ImageKey, KernelRelease, MapRequest, Mapped, Membership, Owner,
    Result,
};
use crate::pool::Watcher;

pub(super) fn failure(what: &str, object: impl Display, errno: i32) -> HostError {
    HostError {
        message: format!("cannot {what} {object}: {}", Errno::from_raw(errno).desc()),
        errno: Some(errno),
        id: None,
    }
}

/// A process on a host of a [`Sim`].
#[derive(Clone)]
pub struct MemoryHost {
    sim: Sim,
    owner: Owner,
}

impl MemoryHost {
    pub(super) fn start(sim: Sim, host: &str) -> Self {
        let owner = {
            let mut state = sim.lock();
            if !state.hosts.contains_key(host) {
                let booted = HostState::boot(&mut state);
                state.hosts.insert(host.to_owned(), booted);
            }
            let number = state.number();
            // Pids are reused, start times are not.
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
        MemoryHost { sim, owner }
    }

    /// The state, while this process can do anything.
    fn alive(&self, what: &str, object: impl Display) -> Result<MutexGuard<'_, State>> {
        let state = self.sim.lock();
        match state.hosts.get(&self.owner.host) {
            Some(host) if host.runs() && host.boot_id == self.owner.boot_id => Ok(state),
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

    /// Maps the image that has that name now, for writing.
    pub(super) fn map_named(&self, image_name: &str) -> Result<Mapped> {
        let id = {
            let state = self.alive("map", image_name)?;
            state.pool.directory.get(image_name).cloned()
        };
        self.map(&MapRequest {
            key: ImageKey {
                fsid: fsid(),
                pool_id: POOL_ID,
                namespace: String::new(),
                image_id: id.ok_or_else(|| failure("map", image_name, libc::ENOENT))?,
                snap_id: None,
            },
            pool_name: POOL_NAME.to_owned(),
            image_name: image_name.to_owned(),
            snap_name: None,
            read_only: false,
            noshare: false,
            label: None,
        })
    }

    fn add(&self, request: &MapRequest) -> Result<Mapped> {
        let fail = |errno| failure("map", &request.image_name, errno);
        let mut state = self.alive("map", &request.image_name)?;
        // The kernel gets a name, and takes the image that has it.
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
        let number = state.number();
        let own = Kernel {
            address: format!("127.0.0.1:0/{number}"),
            client_id: number,
        };
        let shared = state.hosts.get(&self.owner.host).map(|h| h.kernel.clone());
        // `rbd_add` of a client that is cut off fails with ESHUTDOWN; hostdev then maps with noshare.
        let shared = shared.filter(|k| !state.pool.blocklist.contains_key(&k.address));
        let kernel = shared.filter(|_| !request.noshare).unwrap_or(own);
        let host = state.hosts.get_mut(&self.owner.host);
        let host = host.ok_or_else(|| fail(libc::ESRCH))?;
        if host
            .settings
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
            client_address: kernel.address,
            client_id: kernel.client_id,
            label: request.label.clone(),
        };
        let device = Device {
            mapped: mapped.clone(),
            cookie,
            open: false,
        };
        host.devices.insert(number, device);
        let watches = !request.read_only || host.settings.watches_readers;
        let watcher = Watcher {
            address: mapped.client_address.clone(),
            client_id: mapped.client_id,
            cookie,
        };
        if watches {
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
        let state = self.sim.lock();
        let host = state.hosts.get(&self.owner.host);
        let skew = host.map_or(0, |host| host.settings.skew);
        (state.clock / 1000).saturating_add_signed(skew)
    }

    fn sleep(&self, milliseconds: u64) {
        self.sim.lock().advance(milliseconds);
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        if owner.host != self.owner.host {
            return false;
        }
        let state = self.sim.lock();
        state.hosts.get(&owner.host).is_none_or(|host| {
            host.boot_id != owner.boot_id || !host.processes.contains(&(owner.pid, owner.started))
        })
    }

    fn seen_for(&self, key: &str, value: &str) -> Result<u64> {
        let now = self.alive("look at", key)?.clock;
        self.with_host("look at", key, |host| {
            let seen = host.seen.entry(key.to_owned()).or_default();
            if seen.0 != value {
                *seen = (value.to_owned(), now);
            }
            Ok((now - seen.1) / 1000)
        })
    }

    fn note(&self, name: &str, text: Option<&str>) -> Result<()> {
        self.with_host("note", name, |host| {
            let notes = &mut host.settings.notes;
            match text {
                Some(text) => drop(notes.insert(name.to_owned(), text.to_owned())),
                None => drop(notes.remove(name)),
            }
            Ok(())
        })
    }

    fn noted(&self, name: &str) -> Result<Option<String>> {
        self.with_host("read the note", name, |host| {
            Ok(host.settings.notes.get(name).cloned())
        })
    }

    fn pool(&self) -> Result<String> {
        self.with_host("ask XAPI about", "the pool", |host| {
            Ok(host.settings.pool.clone())
        })
    }

    fn membership(&self, host: &str) -> Result<Membership> {
        let pool = self.pool()?;
        let state = self.alive("ask XAPI about", host)?;
        Ok(match state.hosts.get(host) {
            Some(known) if known.settings.pool != pool => Membership::Unknown,
            None => Membership::Unknown,
            Some(known) if known.settings.declared_dead => Membership::DeclaredDead,
            Some(_) => Membership::Member,
        })
    }

    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>> {
        let mut state = self.alive("ask", host)?;
        let Some(asked) = state.hosts.get_mut(host) else {
            return Ok(None);
        };
        if !(asked.runs() && asked.settings.reachable) {
            return Ok(None);
        }
        let (in_use, gone) = asked.reconcile(vdi);
        let boot_id = asked.boot_id.clone();
        let device = asked.device_of(vdi).map(|d| d.mapped.key.image_id.clone());
        let datapath = asked.settings.datapath.clone();
        let datapath = datapath.filter(|_| device.is_some());
        for (address, cookie) in gone {
            state.pool.unwatch(&address, cookie);
        }
        // A kernel watches what it has mapped for writing, and sees each new size at once.
        let image = device.and_then(|id| state.pool.images.get(&id));
        let size = image.map(|image| image.size);
        Ok(Some(HostReply {
            boot_id,
            in_use,
            datapath,
            size,
        }))
    }

    fn grows_in_use(&self, vdi: &Uuid) -> Result<bool> {
        Ok(self.alive("ask XAPI about", vdi)?.grows_in_use)
    }

    fn revive(&self) -> Result<()> {
        self.with_host("revive", "this host", |host| {
            host.settings.declared_dead = false;
            Ok(())
        })
    }

    fn alarm(&self, report: &Report) -> Result<()> {
        let board = self.alive("alarm", "")?.board.clone();
        update(&board, &self.owner.host, report).map(drop)
    }

    fn kernel(&self) -> Result<KernelRelease> {
        self.with_host("read", "kernel", |_| {
            Ok(KernelRelease {
                name: "6.1.0".to_owned(),
            })
        })
    }

    fn supported_features(&self) -> Result<Option<u64>> {
        self.with_host("read", "supported_features", |host| {
            Ok(host.settings.supported_features)
        })
    }

    fn watches_readers(&self) -> Result<bool> {
        self.with_host("read", "the kernel's version", |host| {
            Ok(host.settings.watches_readers)
        })
    }

    fn mappings(&self) -> Result<Vec<Mapped>> {
        self.with_host("list", "devices", |host| Ok(host.mapped()))
    }

    fn pause_disks(&self, vdis: &[Uuid]) -> Vec<Result<()>> {
        let pause = |vdi: &Uuid| {
            let mut state = self.alive("pause", vdi)?;
            if !state.impatient {
                state.paused.insert(*vdi);
            }
            Ok(())
        };
        vdis.iter().map(pause).collect()
    }

    fn resume_disks(&self, vdis: &[Uuid]) -> Vec<Result<bool>> {
        let resume = |vdi: &Uuid| Ok(self.alive("resume", vdi)?.paused.remove(vdi));
        vdis.iter().map(resume).collect()
    }

    fn is_task_over(&self, task: &str) -> Result<bool> {
        Ok(!self.alive("ask XAPI about", task)?.tasks.contains(task))
    }

    fn map(&self, request: &MapRequest) -> Result<Mapped> {
        let mut mappings = self.mappings()?.into_iter();
        let found = mappings.find(|m| m.key == request.key && m.label == request.label);
        match found {
            Some(found) if request.read_only || !found.read_only => Ok(found),
            Some(read_only) => {
                self.unmap(&read_only, 0)?;
                self.add(request)
            }
            None => self.add(request),
        }
    }

    fn unmap(&self, mapped: &Mapped, _seconds: u64) -> Result<()> {
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
