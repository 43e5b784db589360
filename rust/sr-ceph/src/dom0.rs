//! The real host: its kernel's RBD devices, its processes, its clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostdev::{KernelRelease, Krbd, Mapping, MsMode};
use hostos::errno::describe;
use hostos::{Notebook, Process, Sightings};
use sr::alarm::{update_alone, Board, Report};
use uuid::Uuid;

use crate::catalogue::image_prefix;
use crate::host::{
    Host, HostError, HostReply, ImageKey, MapRequest, Mapped, Membership, Owner, Result,
};
use crate::messenger::{self, NoRoute, Route};

/// How long the kernel may take to map or unmap.
const KERNEL_DEADLINE: Duration = Duration::from_secs(30);

/// What only XAPI has or can do. An error is its text.
pub trait Xapi: Board {
    /// This pool's UUID.
    fn pool_uuid(&self) -> std::result::Result<String, String>;
    /// Whether this pool has a host with that UUID.
    fn knows_host(&self, host: &str) -> std::result::Result<bool, String>;
    /// Whether smblock's hook has noted that the host was declared dead.
    fn declared_dead(&self, host: &str) -> std::result::Result<bool, String>;
    /// Removes that note from this host.
    fn revive(&self) -> std::result::Result<(), String>;
    /// Returns what that host's plugin replies about a VDI, as JSON. Empty: the host cannot be asked.
    fn reconcile_host(&self, host: &str, vdi: &Uuid) -> std::result::Result<String, String>;
    /// Whether XAPI has asked for growth of a VDI that may be in use (`VDI.resize_online`).
    fn grows_in_use(&self, vdi: &Uuid) -> std::result::Result<bool, String>;
    /// Pauses the I/O of disks at once, on the hosts that run them. A result for each, in their order.
    fn pause(&self, vdis: &[Uuid]) -> Vec<std::result::Result<(), String>>;
    /// Resumes paused disks at once. Whether each was still paused, in their order.
    fn unpause(&self, vdis: &[Uuid]) -> Vec<std::result::Result<bool, String>>;
    /// Whether a task has ended, or is unknown because it has ended.
    fn is_task_over(&self, task: &str) -> std::result::Result<bool, String>;
}

/// This host, mapping images of one cluster as one user.
pub struct Dom0<'a> {
    owner: Owner,
    krbd: Krbd,
    sightings: Sightings,
    notebook: Notebook,
    cluster: Option<&'a librbd::Cluster>,
    ms_mode: Option<MsMode>,
    xapi: &'a dyn Xapi,
}

impl<'a> Dom0<'a> {
    /// The host with that UUID in XAPI, which must be the one that this process runs on. It cannot map before
    /// it has a connection ([`Dom0::connected`]).
    pub fn new(uuid: &str, xapi: &'a dyn Xapi) -> Result<Self> {
        let this = Process::this()?;
        Ok(Dom0 {
            owner: Owner {
                host: uuid.to_owned(),
                boot_id: this.boot_id,
                pid: this.pid,
                started: this.start_time,
            },
            krbd: Krbd::new(),
            sightings: Sightings::default(),
            notebook: Notebook::default(),
            cluster: None,
            ms_mode: None,
            xapi,
        })
    }

    /// The same host with a connection to the cluster, so that it can map. `ms_mode`: how its kernel is to
    /// connect, if the device-config has it.
    #[must_use]
    pub fn connected(self, cluster: &'a librbd::Cluster, ms_mode: Option<MsMode>) -> Self {
        Dom0 {
            cluster: Some(cluster),
            ms_mode,
            ..self
        }
    }
}

impl Dom0<'_> {
    /// How this host's kernel reaches the cluster.
    fn route(&self, cluster: &librbd::Cluster) -> Result<Route> {
        let kernel = KernelRelease::running()?;
        let route = messenger::route(
            &cluster.monitors().map_err(from_ceph)?,
            self.ms_mode,
            &kernel,
        )?;
        if !route.unused.is_empty() {
            log::warn!(
                "this kernel cannot use the monitors {}: they have no v1 address",
                route.unused.join(", ")
            );
        }
        Ok(route)
    }
}

/// Whether this host's kernel maps any image of an SR. Needs no cluster: the names of images contain the SR's
/// UUID.
pub fn maps_any_of(sr: &Uuid) -> Result<bool> {
    let prefix = image_prefix(sr);
    let mappings = Krbd::new().mappings()?;
    Ok(mappings.iter().any(|m| m.image_name.starts_with(&prefix)))
}

impl From<NoRoute> for HostError {
    fn from(error: NoRoute) -> Self {
        HostError {
            errno: Some(error.errno()),
            message: format!("{error} ({}); {}", describe(error.errno()), error.remedy()),
            id: Some(error.id()),
        }
    }
}

fn from_ceph(error: librbd::Error) -> HostError {
    HostError {
        errno: error.errno(),
        message: error.to_string(),
        id: Some(error.id()),
    }
}

impl From<Mapping> for Mapped {
    fn from(mapping: Mapping) -> Self {
        Mapped {
            device: mapping.device,
            key: ImageKey {
                fsid: mapping.key.fsid,
                pool_id: mapping.key.pool_id,
                namespace: mapping.key.namespace,
                image_id: mapping.key.image_id,
                snap_id: mapping.key.snap_id,
            },
            image_name: mapping.image_name,
            size: mapping.size,
            read_only: mapping.read_only,
            client_address: mapping.client_address,
            client_id: mapping.client_id,
            label: mapping.label,
        }
    }
}

impl From<&ImageKey> for hostdev::ImageKey {
    fn from(key: &ImageKey) -> Self {
        hostdev::ImageKey {
            fsid: key.fsid.clone(),
            pool_id: key.pool_id,
            namespace: key.namespace.clone(),
            image_id: key.image_id.clone(),
            snap_id: key.snap_id,
        }
    }
}

fn from_xapi(message: String) -> HostError {
    HostError {
        message,
        errno: None,
        id: None,
    }
}

impl Host for Dom0<'_> {
    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    fn sleep(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        if owner.host != self.owner.host {
            return false;
        }
        let process = Process {
            boot_id: owner.boot_id.clone(),
            pid: owner.pid,
            start_time: owner.started,
        };
        match process.is_alive() {
            Ok(alive) => !alive,
            Err(e) => {
                log::warn!("cannot find out whether process {} runs: {e}", owner.pid);
                false
            }
        }
    }

    fn seen_for(&self, key: &str, value: &str) -> Result<u64> {
        Ok(self.sightings.seen_for(key, value)?)
    }

    fn note(&self, name: &str, text: Option<&str>) -> Result<()> {
        Ok(self.notebook.write(name, text)?)
    }

    fn noted(&self, name: &str) -> Result<Option<String>> {
        Ok(self.notebook.read(name)?)
    }

    fn pool(&self) -> Result<String> {
        self.xapi.pool_uuid().map_err(from_xapi)
    }

    fn membership(&self, host: &str) -> Result<Membership> {
        if !self.xapi.knows_host(host).map_err(from_xapi)? {
            return Ok(Membership::Unknown);
        }
        Ok(if self.xapi.declared_dead(host).map_err(from_xapi)? {
            Membership::DeclaredDead
        } else {
            Membership::Member
        })
    }

    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>> {
        let reply = self.xapi.reconcile_host(host, vdi).map_err(from_xapi)?;
        HostReply::parse(host, &reply)
    }

    fn grows_in_use(&self, vdi: &Uuid) -> Result<bool> {
        self.xapi.grows_in_use(vdi).map_err(from_xapi)
    }

    fn revive(&self) -> Result<()> {
        self.xapi.revive().map_err(from_xapi)
    }

    fn alarm(&self, report: &Report) -> Result<()> {
        update_alone(self.xapi, &self.owner.host, report)
    }

    fn pause_disks(&self, vdis: &[Uuid]) -> Vec<Result<()>> {
        let results = self.xapi.pause(vdis).into_iter();
        results.map(|result| result.map_err(from_xapi)).collect()
    }

    fn resume_disks(&self, vdis: &[Uuid]) -> Vec<Result<bool>> {
        let results = self.xapi.unpause(vdis).into_iter();
        results.map(|result| result.map_err(from_xapi)).collect()
    }

    fn is_task_over(&self, task: &str) -> Result<bool> {
        self.xapi.is_task_over(task).map_err(from_xapi)
    }

    fn kernel(&self) -> Result<KernelRelease> {
        Ok(KernelRelease::running()?)
    }

    fn supported_features(&self) -> Result<Option<u64>> {
        self.krbd.load_module(KERNEL_DEADLINE)?;
        Ok(self.krbd.mappable_features()?)
    }

    fn watches_readers(&self) -> Result<bool> {
        Ok(hostdev::kernel_watches_readers()?)
    }

    fn mappings(&self) -> Result<Vec<Mapped>> {
        let mappings = self.krbd.mappings()?;
        Ok(mappings.into_iter().map(Mapped::from).collect())
    }

    fn map(&self, request: &MapRequest) -> Result<Mapped> {
        let cluster = self.cluster.ok_or_else(|| HostError {
            message: format!("cannot map {}: no connection", request.image_name),
            errno: Some(nix::libc::ENOTCONN),
            id: None,
        })?;
        let route = self.route(cluster)?;
        let mapping = self.krbd.map(&hostdev::MapRequest {
            monitors: route.addresses,
            ms_mode: route.ms_mode,
            user: cluster.user().to_owned(),
            key: cluster.key().map_err(from_ceph)?.expose().to_owned().into(),
            image: hostdev::ImageKey::from(&request.key),
            pool_name: request.pool_name.clone(),
            image_name: request.image_name.clone(),
            snap_name: request.snap_name.clone(),
            read_only: request.read_only,
            noshare: request.noshare,
            label: request.label.clone(),
            deadline: KERNEL_DEADLINE,
        })?;
        Ok(mapping.into())
    }

    fn unmap(&self, mapped: &Mapped, seconds: u64) -> Result<()> {
        let key = hostdev::ImageKey::from(&mapped.key);
        for mapping in self.krbd.find(&key)? {
            if mapping.device == mapped.device {
                self.krbd.unmap(&mapping, Duration::from_secs(seconds))?;
            }
        }
        Ok(())
    }
}
