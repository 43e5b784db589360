//! Wrappers of XAPI and a host that make calls fail ([`sr::faults`]).

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use crucible_host::target::TargetState;
use crucible_host::Volume;
use sr::alarm::{Board, Message};
use sr::faults::{change, read, Call, Faults};
use sr::host::{HostReply, Result};
use uuid::Uuid;

use crate::{Device, Host, HostId, HostState, Server, SmConfig, Xapi};

/// A [`Xapi`] as a process with faults sees it.
pub struct FaultyXapi<'f, 'w> {
    inner: &'w dyn Xapi,
    faults: &'f Faults<'w>,
}

impl<'f, 'w> FaultyXapi<'f, 'w> {
    /// Wraps XAPI with faults.
    pub fn new(inner: &'w dyn Xapi, faults: &'f Faults<'w>) -> Self {
        FaultyXapi { inner, faults }
    }

    fn call<T>(&self, call: &Call<'_>, apply: impl Fn(&dyn Xapi) -> Result<T> + 'w) -> Result<T> {
        let inner = self.inner;
        self.faults.pass(call, move || apply(inner), || Ok(()))
    }
}

impl Xapi for FaultyXapi<'_, '_> {
    fn sm_config(&self, vdi: &Uuid) -> Result<Option<SmConfig>> {
        let vdi = *vdi;
        self.call(&read("sm_config", ""), move |r| r.sm_config(&vdi))
    }

    fn add(&self, vdi: &Uuid, key: &str, value: &str) -> Result<bool> {
        let (vdi, key, value) = (*vdi, key.to_owned(), value.to_owned());
        self.call(&change("add", ""), move |r| r.add(&vdi, &key, &value))
    }

    fn remove(&self, vdi: &Uuid, key: &str) -> Result<()> {
        let (vdi, key) = (*vdi, key.to_owned());
        self.call(&change("remove", ""), move |r| r.remove(&vdi, &key))
    }

    fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>> {
        self.call(&read("vdis", ""), |r| r.vdis())
    }

    fn pool(&self) -> Result<String> {
        self.call(&read("pool", ""), |r| r.pool())
    }

    fn host(&self, host: &str) -> Result<Option<HostState>> {
        let host = host.to_owned();
        self.call(&read("host", ""), move |r| r.host(&host))
    }

    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>> {
        let (host, vdi) = (host.to_owned(), *vdi);
        self.call(&change("ask", ""), move |r| r.ask(&host, &vdi))
    }

    fn publish_boot(&self, boot_id: &str) -> Result<()> {
        let boot_id = boot_id.to_owned();
        self.call(&change("publish_boot", ""), move |r| {
            r.publish_boot(&boot_id)
        })
    }

    fn revive(&self, host: &str) -> Result<()> {
        let host = host.to_owned();
        self.call(&change("revive", ""), move |r| r.revive(&host))
    }
}

impl Board for FaultyXapi<'_, '_> {
    fn notes(&self) -> Result<BTreeMap<String, String>> {
        self.call(&read("notes", ""), |r| r.notes())
    }

    fn add_note(&self, key: &str, value: &str) -> Result<bool> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.call(&change("add_note", ""), move |r| r.add_note(&key, &value))
    }

    fn remove_note(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.call(&change("remove_note", ""), move |r| r.remove_note(&key))
    }

    fn raise(&self, message: &Message) -> Result<String> {
        let message = message.clone();
        self.call(&change("raise", ""), move |r| r.raise(&message))
    }

    fn destroy(&self, message: &str) -> Result<()> {
        let message = message.to_owned();
        self.call(&change("destroy", ""), move |r| r.destroy(&message))
    }
}

/// A [`Host`] as a process with faults sees it.
pub struct FaultyHost<'f, 'w> {
    inner: &'w dyn Host,
    faults: &'f Faults<'w>,
}

impl<'f, 'w> FaultyHost<'f, 'w> {
    /// Wraps a host with faults.
    pub fn new(inner: &'w dyn Host, faults: &'f Faults<'w>) -> Self {
        FaultyHost { inner, faults }
    }

    fn call<T>(&self, call: &Call<'_>, apply: impl Fn(&dyn Host) -> Result<T> + 'w) -> Result<T> {
        let inner = self.inner;
        self.faults.pass(call, move || apply(inner), || Ok(()))
    }
}

impl Host for FaultyHost<'_, '_> {
    fn id(&self) -> &HostId {
        self.inner.id()
    }

    fn now(&self) -> u64 {
        self.inner.now()
    }

    fn lock(&self, vdi: &Uuid) -> Result<Box<dyn Any>> {
        let vdi = *vdi;
        self.call(&read("lock", ""), move |m| m.lock(&vdi))
    }

    fn try_lock(&self, vdi: &Uuid) -> Result<Option<Box<dyn Any>>> {
        let vdi = *vdi;
        self.call(&read("try_lock", ""), move |m| m.try_lock(&vdi))
    }

    fn fingerprint(&self, volume: &Volume) -> Result<Option<String>> {
        let volume = volume.clone();
        self.call(&read("fingerprint", ""), move |m| m.fingerprint(&volume))
    }

    fn check_program(&self) -> Result<()> {
        self.call(&read("check_program", ""), |m| m.check_program())
    }

    fn check_kernel(&self) -> Result<()> {
        self.call(&read("check_kernel", ""), |m| m.check_kernel())
    }

    fn probe(&self, targets: &[SocketAddr]) -> Vec<TargetState> {
        self.inner.probe(targets)
    }

    fn server(&self, vdi: &Uuid) -> Result<Server> {
        let vdi = *vdi;
        self.call(&read("server", ""), move |m| m.server(&vdi))
    }

    fn reserve(&self, volume: &Volume) -> Result<()> {
        let volume = volume.clone();
        self.call(&change("reserve", ""), move |m| m.reserve(&volume))
    }

    fn start(&self, volume: &Volume, generation: u64, fingerprint: Option<&str>) -> Result<()> {
        let (volume, key) = (volume.clone(), fingerprint.map(str::to_owned));
        self.call(&change("start", ""), move |m| {
            m.start(&volume, generation, key.as_deref())
        })
    }

    fn stop(&self, vdi: &Uuid) -> Result<()> {
        let vdi = *vdi;
        self.call(&change("stop", ""), move |m| m.stop(&vdi))
    }

    fn remove(&self, vdi: &Uuid) -> Result<()> {
        let vdi = *vdi;
        self.call(&change("remove_directory", ""), move |m| m.remove(&vdi))
    }

    fn device(&self, vdi: &Uuid) -> Result<Option<Device>> {
        let vdi = *vdi;
        self.call(&read("device", ""), move |m| m.device(&vdi))
    }

    fn connect(&self, volume: &Volume, read_only: bool) -> Result<Device> {
        let volume = volume.clone();
        self.call(&change("connect", ""), move |m| {
            m.connect(&volume, read_only)
        })
    }

    fn disconnect(&self, vdi: &Uuid) -> Result<()> {
        let vdi = *vdi;
        self.call(&change("disconnect", ""), move |m| m.disconnect(&vdi))
    }
}
