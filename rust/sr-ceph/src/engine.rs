//! SRs of type cephrbd, as an implementation of [`sr::engine::Engine`].
//!
//! Each operation makes a [`CephSr`] on the one connection of this process. Unplugging needs no
//! cluster: see [`crate::vdi::unplug`].

mod config_keys;
mod connection;
mod findings;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use sr::alarm::Report;
use sr::check::CheckLine;
use sr::device_config::Datapath;
use sr::doctor::Facts;
use sr::engine::{
    Adoption, AdoptionRequest, Capability, Engine, EngineError, Look, OnBoot, Overview, Pairs,
    Pending, Probe, Result, Scan, SrName, SrType, Step, Usage, VdiPlace,
};
use sr::finding::{checked, doctored, not_looked_at, Finding};
use sr::xapi::{ScannedVdi, XapiFields, XapiVdi};
use uuid::Uuid;

use crate::bitmap::Bitmap;
use crate::caps::Caps;
use crate::device_config::{ConfigError, DeviceConfig};
use crate::dom0::{maps_any_of, Dom0, Xapi};
use crate::error::{Context, Error};
use crate::host::Host;
use crate::sr::place::Place;
use crate::vdi::create::NewDisk;
use crate::vdi::unplug;
use crate::CephSr;

pub use self::connection::close_connection;

/// SRs of type cephrbd.
pub static SR_TYPE: SrType = SrType {
    name: "cephrbd",
    capabilities: &[
        Capability::SrProbe,
        Capability::SrMetadata,
        Capability::SrUpdate,
        Capability::ThinProvisioning,
        Capability::LargeVdi,
        Capability::AtomicPause,
        Capability::VdiCreate,
        Capability::VdiDelete,
        Capability::VdiIntroduce,
        Capability::VdiUpdate,
        Capability::VdiResize,
        Capability::VdiAttach,
        Capability::VdiDetach,
        Capability::VdiActivate,
        Capability::VdiDeactivate,
        Capability::VdiSnapshot,
        Capability::VdiClone,
        Capability::VdiRevert,
        Capability::VdiResetOnBoot,
        Capability::VdiGenerateConfig,
        Capability::VdiConfigCbt,
        Capability::Fence,
        Capability::Reclaim,
        Capability::Adopt,
    ],
    configuration: &config_keys::CONFIG_KEYS,
    marks: &["pool"],
    instead: &[(
        Capability::Accept,
        "only SRs of type crucible have volumes to accept: give device-config:volumes or :provisioner",
    )],
};

impl EngineError for Error {}
impl EngineError for ConfigError {}

/// An SR of type cephrbd, as one process on one host sees it. The first call that needs the cluster
/// connects.
pub struct CephEngine {
    sr: Uuid,
    host: String,
    config: DeviceConfig,
    xapi: Box<dyn Xapi + Send + Sync>,
    before_connecting: fn(),
    needs_worker: AtomicBool,
}

impl CephEngine {
    /// The SR of that UUID, which need not exist yet, on the host of that UUID. Ceph's libraries print to
    /// stdout: `before_connecting` is called before they are loaded.
    ///
    /// # Errors
    /// The device-config cannot be used.
    pub fn new(
        sr: Uuid,
        host: String,
        device_config: Pairs,
        xapi: Box<dyn Xapi + Send + Sync>,
        before_connecting: fn(),
    ) -> Result<Self> {
        Ok(CephEngine {
            sr,
            host,
            config: DeviceConfig::parse(device_config)?,
            xapi,
            before_connecting,
            needs_worker: AtomicBool::new(false),
        })
    }

    /// Works on the SR on its cluster.
    fn run<T>(&self, work: impl FnOnce(&CephSr<'_>) -> crate::Result<T>) -> Result<T> {
        let host = self.dom0()?;
        let place = Place::of(&host, &self.sr);
        let explain = |error: Error, cluster: &librbd::Cluster| match (&place, cluster.fsid()) {
            (Some(place), Ok(fsid)) => {
                let now = (fsid.as_str(), &crate::ceph::pools(cluster));
                place.explain(&self.sr, error, now)
            }
            _ => error,
        };
        let pool = connection::pool(&self.config, self.before_connecting, explain)?;
        let host = host.connected(pool.connection(), self.config.ms_mode());
        let features = self.config.image_features();
        let ceph_sr = CephSr::new(pool.as_ref(), &host, self.sr, features);
        let result = work(&ceph_sr);
        if ceph_sr.needs_worker() {
            self.needs_worker.store(true, Ordering::Relaxed);
        }
        let explained = result.map_err(|error| match error {
            Error::SrMissing { .. } => explain(error, pool.connection()),
            other => other,
        });
        explained.map_err(|error| self.advised(error))
    }

    /// Adds to the error what an administrator can do about the user's caps, if they may be the cause.
    fn advised(&self, error: Error) -> sr::engine::Error {
        sr::engine::Error::Failed {
            advice: Caps::new(&self.config, &[]).advise(&error),
            source: Box::new(error),
        }
    }

    fn dom0(&self) -> Result<Dom0<'_>> {
        Ok(Dom0::new(&self.host, self.xapi.as_ref()).doing("looking at this host")?)
    }

    /// Whether a disk of the SR is mapped on this host.
    fn maps_any(&self) -> Result<bool> {
        Ok(maps_any_of(&self.sr).doing("listing this host's devices")?)
    }
}

impl Engine for CephEngine {
    fn sr_type(&self) -> &'static SrType {
        &SR_TYPE
    }

    fn datapath(&self) -> Datapath {
        self.config.datapath()
    }

    fn create(&self, name: &SrName<'_>, datapaths: &[String]) -> Result<()> {
        self.require_datapath(datapaths)?;
        self.run(|sr| sr.create_sr(name.label, name.description))
    }

    fn delete(&self) -> Result<()> {
        self.run(|sr| sr.delete_sr())
    }

    fn attach(&self, datapaths: &[String]) -> Result<()> {
        self.require_datapath(datapaths)?;
        self.run(|sr| sr.attach_sr())
    }

    /// Needs no cluster: an SR can be unplugged while the cluster is down. Unmaps idle devices, and fails
    /// while a device is open.
    fn detach(&self) -> Result<()> {
        if !self.maps_any()? {
            return Ok(());
        }
        match self.run(|sr| Ok(sr.detach_sr())) {
            Ok(detached) => Ok(detached?),
            Err(error) => {
                log::warn!("SR {}: {error}; its idle devices are unmapped", self.sr);
                Ok(unplug::unmap_sr(&self.dom0()?, &self.sr)?)
            }
        }
    }

    fn look(&self) -> Look {
        let looked = self.run(|sr| sr.look());
        let mut look = looked.unwrap_or_else(|error| findings::unreadable(&self.sr, &error));
        look.health.sr = self.sr;
        look.health.sr_type = SR_TYPE.name.to_owned();
        look.health.version = env!("CARGO_PKG_VERSION").to_owned();
        look.health.pool = self.config.pool().unwrap_or_default().to_owned();
        look
    }

    /// Needs no cluster.
    fn alarm(&self, report: &Report) -> Result<()> {
        let raised = self.dom0()?.alarm(report);
        Ok(raised.doing("raising and clearing alarms in XAPI")?)
    }

    fn preflight(&self, datapaths: &[String], others: &[Pairs]) -> Result<Vec<CheckLine>> {
        self.require_datapath(datapaths)?;
        (self.before_connecting)();
        // A device-config that cannot be read serves no SR.
        let others = others.iter().cloned();
        let others: Vec<_> = others.flat_map(DeviceConfig::parse).collect();
        Ok(crate::check::check(&self.config, &others))
    }

    fn doctor(&self, datapaths: &[String], others: &[Pairs], facts: &Facts) -> Vec<Finding> {
        let mut found = checked(self.preflight(datapaths, others), &self.sr);
        // Without a connection the SR would cost the same wait again.
        if findings::is_out_of_reach(&found) {
            found.push(not_looked_at(
                &self.sr,
                "the failed parts of the check come first",
            ));
        } else {
            found.extend(doctored(self.run(|sr| sr.doctor(facts)), &self.sr));
        }
        found
    }

    fn overview(&self) -> Result<Overview> {
        self.run(|sr| sr.overview())
    }

    fn places(&self) -> Result<Vec<VdiPlace>> {
        self.run(|sr| sr.places())
    }

    fn repair(&self) -> Result<()> {
        self.run(|sr| sr.repair())
    }

    /// With a pool: the SRs in it. Without: the pools that can hold one.
    fn probe(&self) -> Result<Probe> {
        let cluster = connection::connect(&self.config, self.before_connecting)?;
        match self.config.pool() {
            Some(pool) => {
                let pool = crate::ceph::CephPool::open(cluster, pool)?
                    .with_data_in(self.config.data_pool())?;
                findings::srs(&pool).map_err(|error| self.advised(error))
            }
            None => {
                let pools = findings::pools(&cluster, self.config.user());
                pools.map_err(|error| self.advised(error))
            }
        }
    }

    fn scan(&self, known: &[XapiVdi]) -> Result<Scan> {
        self.run(|sr| sr.scan(known)).map(Scan::from)
    }

    fn update(&self, name: &SrName<'_>) -> Result<Usage> {
        self.run(|sr| {
            sr.update_sr(name.label, name.description)?;
            Ok(findings::usage(&sr.usage()?, sr.virtual_allocation()?))
        })
    }

    fn declare_dead(&self, host: &str, reason: &str) -> Result<Vec<String>> {
        self.run(|sr| sr.declare_dead(host, reason))
    }

    fn blocklist_hosts(&self, addresses: &[String]) -> Result<Vec<String>> {
        self.run(|sr| sr.blocklist_hosts(addresses))
    }

    fn needs_worker(&self) -> bool {
        self.needs_worker.load(Ordering::Relaxed)
    }

    fn reclaim(&self, report: &mut dyn FnMut(&Step<'_>)) -> Result<usize> {
        self.run(|sr| sr.reclaim(|pending, step| report(&findings::step(pending, &step))))
    }

    fn pending(&self) -> Result<Vec<Pending>> {
        let pending = self.run(|sr| sr.pending())?;
        Ok(pending.into_iter().map(Pending::from).collect())
    }

    fn adopt(&self, request: &AdoptionRequest) -> Result<Adoption> {
        self.run(|sr| sr.adopt_older(request))
    }

    fn create_vdi(&self, vdi: &Uuid, size: i128, xapi: XapiFields) -> Result<u64> {
        let uuid = *vdi;
        self.run(|sr| {
            sr.create_disk(&NewDisk { uuid, size, xapi })
                .map(|record| record.size)
        })
    }

    fn delete_vdi(&self, vdi: &Uuid) -> Result<()> {
        self.run(|sr| sr.delete_vdi(vdi))
    }

    fn introduce_vdi(&self, vdi: &Uuid) -> Result<ScannedVdi> {
        self.run(|sr| sr.introduce_vdi(vdi))
    }

    fn update_vdis(&self, vdis: &[XapiVdi]) -> Result<()> {
        self.run(|sr| vdis.iter().try_for_each(|vdi| sr.update_vdi(vdi)))
    }

    /// A reset point belongs to a disk that forgets its changes. It is removed if the disk keeps them.
    fn clone_vdi(&self, vdi: &Uuid, new: &Uuid, on_boot: OnBoot) -> Result<ScannedVdi> {
        let cloned = self.run(|sr| match on_boot {
            OnBoot::Reset => sr.clone_vdi(vdi, new),
            OnBoot::Persist => sr.clone_lasting_vdi(vdi, new),
        });
        cloned.map(ScannedVdi::from)
    }

    fn snapshot_vdi(&self, vdi: &Uuid, new: &Uuid) -> Result<ScannedVdi> {
        self.run(|sr| sr.snapshot_vdi(vdi, new))
            .map(ScannedVdi::from)
    }

    fn revert_vdi(&self, vdi: &Uuid, snapshot: &Uuid) -> Result<u64> {
        self.run(|sr| sr.revert_vdi(vdi, snapshot))
            .map(|record| record.size)
    }

    fn resize_vdi(&self, vdi: &Uuid, size: i128) -> Result<u64> {
        self.run(|sr| sr.resize_vdi(vdi, size))
    }

    fn begin_epoch(&self, vdi: &Uuid, on_boot: OnBoot) -> Result<()> {
        self.run(|sr| match on_boot {
            OnBoot::Reset => sr.reset_vdi(vdi),
            OnBoot::Persist => sr.forget_reset_point(vdi),
        })
    }

    fn activate_vdi(&self, vdi: &Uuid, writable: bool) -> Result<PathBuf> {
        self.run(|sr| sr.activate_vdi(vdi, writable))
            .map(|mapped| mapped.device)
    }

    /// Unmaps the VDI without the cluster, then releases its claim if the cluster allows it. A claim that
    /// stays is only logged.
    fn deactivate_vdi(&self, vdi: &Uuid) -> Result<()> {
        let found = unplug::unmap_vdi(&self.dom0()?, &self.sr, vdi)?;
        // The inner error is this host's: the VDI is still mapped. The outer one is of a cluster or a pool
        // that cannot be used.
        match self.run(|sr| Ok(sr.release_unplugged(vdi, found))) {
            Ok(deactivated) => Ok(deactivated?),
            Err(error) => {
                if !found {
                    unplug::unmap_named(&self.dom0()?, &self.sr, vdi)?;
                }
                unplug::warn_of_claim(&self.sr, vdi, &error);
                Ok(())
            }
        }
    }

    fn require_ha_vdi(&self, vdi: &Uuid) -> Result<()> {
        self.run(|sr| sr.require_ha_vdi(vdi))
    }

    fn attach_ha_vdi(&self, vdi: &Uuid) -> Result<PathBuf> {
        self.run(|sr| sr.attach_ha_vdi(vdi))
            .map(|mapped| mapped.device)
    }

    fn track_changes(&self, vdi: &Uuid, tracked: bool) -> Result<()> {
        self.run(|sr| sr.track_changes(vdi, tracked))
    }

    fn destroy_data(&self, vdi: &Uuid) -> Result<()> {
        self.run(|sr| sr.destroy_data(vdi))
    }

    fn changed_blocks(&self, from: &Uuid, to: &Uuid) -> Result<Vec<u8>> {
        self.run(|sr| sr.changed_blocks(from, to))
            .map(Bitmap::into_bytes)
    }

    fn release_vdi(&self, vdi: &Uuid, force: bool) -> Result<Option<String>> {
        let claim = self.run(|sr| sr.break_claim(vdi, force))?;
        Ok(claim.map(|claim| claim.owner.host))
    }

    fn reconcile_vdi(&self, vdi: &Uuid) -> Result<bool> {
        self.run(|sr| sr.reconcile_vdi(vdi))
    }

    fn recover_vdi(&self, vdi: &Uuid) -> Result<()> {
        self.run(|sr| sr.recover_vdi(vdi))
    }
}
