//! The state of a host: its kernel, its devices, and XAPI's notes about it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nix::libc;
use uuid::Uuid;

use super::hosts::failure;
use super::State;
use crate::host::{Mapped, Result};
use crate::image_features::ImageFeatures;
use crate::pool::Watcher;

/// The first number of the watches of kernel clients.
pub(super) const FIRST_KERNEL_COOKIE: u64 = 0xffff_0000_0000_0001;

/// A client of a kernel: one for all devices, except those mapped with `noshare`.
#[derive(Clone)]
pub(super) struct Kernel {
    pub address: String,
    pub client_id: u64,
}

pub(super) struct Device {
    pub mapped: Mapped,
    pub cookie: u64,
    pub open: bool,
}

pub(super) struct HostState {
    pub boot_id: String,
    pub kernel: Kernel,
    /// Pid and start time of the running processes.
    pub processes: BTreeSet<(u32, u64)>,
    pub power: Power,
    /// What stays after a reboot.
    pub settings: Settings,
    /// VDIs that a tapdisk serves, also while it is paused and has its device closed.
    pub used: BTreeSet<Uuid>,
    pub devices: BTreeMap<u64, Device>,
    /// How many maps it has made.
    pub maps: u64,
    /// Which value it has first seen when, in milliseconds since 1970.
    pub seen: BTreeMap<String, (String, u64)>,
}

/// The state of a host's power.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// It is frozen, and continues later with all that it had.
    Frozen,
    Off,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub supported_features: Option<u64>,
    /// Linux before 5.5: `rbd_dev_image_probe` registers a watch for each map, `if (!depth)`.
    pub watches_readers: bool,
    /// Seconds that its clock is ahead.
    pub skew: i64,
    /// The XAPI pool that it is a member of.
    pub pool: String,
    /// Whether XAPI has a note that it was declared dead.
    pub declared_dead: bool,
    /// Whether XAPI can reach it.
    pub reachable: bool,
    /// The datapath of the disks that it uses, which its plugin reports. `None`: its smblock is older.
    pub datapath: Option<String>,
    /// Its notes for its later commands.
    pub notes: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            supported_features: Some(ImageFeatures::DEFAULT.bits()),
            watches_readers: false,
            skew: 0,
            pool: "pool".to_owned(),
            declared_dead: false,
            reachable: true,
            datapath: Some("aio".to_owned()),
            notes: BTreeMap::new(),
        }
    }
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
            power: Power::On,
            settings: Settings::default(),
            used: BTreeSet::new(),
            devices: BTreeMap::new(),
            maps: 0,
            seen: BTreeMap::new(),
        }
    }

    pub fn runs(&self) -> bool {
        self.power == Power::On
    }

    /// The addresses of all its kernel's clients.
    pub fn clients(&self) -> BTreeSet<String> {
        let devices = self.devices.values();
        let own = devices.map(|d| d.mapped.client_address.clone());
        own.chain([self.kernel.address.clone()]).collect()
    }

    /// The watches that its kernel holds, by image id.
    pub fn watches(&self) -> Vec<(String, Watcher)> {
        let watching = |d: &&Device| !d.mapped.read_only || self.settings.watches_readers;
        let devices = self.devices.values().filter(watching);
        let watch = |d: &Device| {
            let watcher = Watcher {
                address: d.mapped.client_address.clone(),
                client_id: d.mapped.client_id,
                cookie: d.cookie,
            };
            (d.mapped.key.image_id.clone(), watcher)
        };
        devices.map(watch).collect()
    }

    /// What the plugin does if another host asks: removes a VDI's devices that no tapdisk serves, and returns
    /// whether the VDI is in use.
    pub fn reconcile(&mut self, vdi: &Uuid) -> (bool, Vec<(String, u64)>) {
        // A running process may hold SM's lock of the VDI.
        if self.used.contains(vdi) || !self.processes.is_empty() {
            return (true, Vec::new());
        }
        let name = format!(".{vdi}.");
        let of_vdi = |d: &Device| !d.mapped.read_only && d.mapped.image_name.contains(&name);
        if self.devices.values().any(|d| of_vdi(d) && d.open) {
            return (true, Vec::new());
        }
        let mut gone = Vec::new();
        self.devices.retain(|_, device| {
            if of_vdi(device) {
                gone.push((device.mapped.client_address.clone(), device.cookie));
            }
            !of_vdi(device)
        });
        (false, gone)
    }

    pub fn mapped(&self) -> Vec<Mapped> {
        self.devices.values().map(|d| d.mapped.clone()).collect()
    }

    /// Returns the device that the host has mapped a disk with for writing.
    pub fn device_of(&self, vdi: &Uuid) -> Option<&Device> {
        let name = format!(".{vdi}.");
        let of_vdi = |d: &&Device| !d.mapped.read_only && d.mapped.image_name.contains(&name);
        self.devices.values().find(of_vdi)
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

    /// Returns the device that a write reaches.
    pub fn writable(&self, path: &Path) -> Result<Mapped> {
        let mut devices = self.devices.values();
        match devices.find(|d| d.mapped.device == path) {
            None => Err(failure("write to", path.display(), libc::ENXIO)),
            Some(device) if device.mapped.read_only => {
                Err(failure("write to", path.display(), libc::EROFS))
            }
            Some(device) => Ok(device.mapped.clone()),
        }
    }
}
