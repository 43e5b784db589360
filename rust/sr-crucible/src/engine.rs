//! The engine of SRs of type crucible: implements [`sr::engine::Engine`].

use std::ffi::OsString;
use std::path::PathBuf;

use sr::alarm::table::UNREADABLE;
use sr::alarm::{update_alone, Report};
use sr::check::CheckLine;
use sr::device_config::Datapath;
use sr::doctor::{self, Facts};
use sr::engine::{
    Capability, ConfigKey, Engine, EngineError, Look, OnBoot, Overview, Pairs, Scan, SrName,
    SrType, Usage, VdiPlace,
};
use sr::finding::{checked, doctored, unreadable, Finding};
use sr::limits::DiskLimits;
use sr::xapi::{ScannedVdi, XapiFields, XapiVdi};
use uuid::Uuid;

use super::config::{Config, ConfigError, DEFAULT_SERVER};
use super::dom0::Dom0;
use super::error::{Context, Error};
use super::{scan, CrucibleSr, Sources, Xapi};

/// SRs of type crucible.
pub static SR_TYPE: SrType = SrType {
    name: "crucible",
    capabilities: &[
        Capability::SrUpdate,
        Capability::AtomicPause,
        Capability::VdiCreate,
        Capability::VdiDelete,
        Capability::VdiClone,
        Capability::VdiIntroduce,
        Capability::VdiUpdate,
        Capability::VdiAttach,
        Capability::VdiDetach,
        Capability::VdiActivate,
        Capability::VdiDeactivate,
        Capability::Accept,
    ],
    configuration: &[
        ConfigKey::new(
            "volumes",
            "file that declares the volumes, the same on every host",
        ),
        ConfigKey::new(
            "provisioner",
            "program that makes, copies and deletes volumes (volumes, provisioner or both are required)",
        ),
        ConfigKey::new("provisioner_NAME", "setting NAME of the provisioner"),
        ConfigKey::new("server", "Crucible's NBD server").default(DEFAULT_SERVER),
        ConfigKey::new("datapath", "aio (tapdisk) or phy (blkback)").default("aio"),
        ConfigKey::IOPS,
        ConfigKey::MBPS,
    ],
    marks: &["volumes", "provisioner"],
    instead: &[
        (
            Capability::Fence,
            "release the claim of each volume that the host has with 'smblock release'",
        ),
        (
            Capability::Reclaim,
            "the deletion of a volume frees its space at once",
        ),
        (
            Capability::VdiMirrorIn,
            "shut the VM down, and copy its disks with 'xe vdi-copy uuid=VDI sr-uuid=SR'",
        ),
    ],
};

impl EngineError for Error {}
impl EngineError for ConfigError {}

/// XAPI, for volumes of Crucible.
pub trait XapiSession: Xapi + Send + Sync {
    /// Reads a secret of XAPI. An error is XAPI's text.
    ///
    /// # Errors
    /// XAPI has no such secret, or does not reply.
    fn secret(&self, secret: &Uuid) -> std::result::Result<String, String>;
}

/// An SR of type crucible, as one process on one host sees it.
pub struct CrucibleEngine {
    sr: Uuid,
    host: String,
    config: Config,
    xapi: Box<dyn XapiSession>,
    supervisor: Vec<OsString>,
}

impl CrucibleEngine {
    /// The SR of that UUID on the host of that UUID. `supervisor` is the command that supervises the server
    /// of a volume. The server's runtime directory is added to it.
    ///
    /// # Errors
    /// The device-config cannot be used.
    pub fn new(
        sr: Uuid,
        host: String,
        device_config: Pairs,
        xapi: Box<dyn XapiSession>,
        supervisor: Vec<OsString>,
    ) -> sr::engine::Result<Self> {
        Ok(CrucibleEngine {
            sr,
            host,
            config: Config::parse(device_config)?,
            xapi,
            supervisor,
        })
    }

    /// Works on the SR's volumes.
    fn run<T>(
        &self,
        work: impl FnOnce(&CrucibleSr<'_>) -> Result<T, Error>,
    ) -> sr::engine::Result<T> {
        let read_secret = |secret: &Uuid| self.xapi.secret(secret);
        let (server, supervisor) = (&self.config.server, self.supervisor.clone());
        let host = Dom0::new(&self.host, server, supervisor, Box::new(read_secret));
        let host = host.doing(|| "reading the boot id of this host".to_owned())?;
        let sources = Sources::new(&self.config, self.sr);
        let xapi: &dyn Xapi = self.xapi.as_ref();
        Ok(work(&CrucibleSr::new(xapi, &host, &sources, self.sr))?)
    }
}

impl From<scan::Usage> for Usage {
    fn from(usage: scan::Usage) -> Self {
        Usage {
            allocated: usage.allocated,
            total: Some(usage.total),
            used: usage.used,
        }
    }
}

impl Engine for CrucibleEngine {
    fn sr_type(&self) -> &'static SrType {
        &SR_TYPE
    }

    fn datapath(&self) -> Datapath {
        self.config.datapath
    }

    /// XAPI alone keeps the SR's name.
    fn create(&self, _name: &SrName<'_>, datapaths: &[String]) -> sr::engine::Result<()> {
        self.require_datapath(datapaths)?;
        self.run(|sr| sr.create_sr())
    }

    fn delete(&self) -> sr::engine::Result<()> {
        self.run(|sr| sr.delete_sr())
    }

    fn attach(&self, datapaths: &[String]) -> sr::engine::Result<()> {
        self.require_datapath(datapaths)?;
        self.run(|sr| sr.attach_sr())
    }

    fn detach(&self) -> sr::engine::Result<()> {
        self.run(|sr| sr.detach_sr())
    }

    fn look(&self) -> Look {
        let mut look = self.run(|sr| sr.look()).unwrap_or_else(|error| Look {
            findings: vec![unreadable(self.sr, error)],
            looked_at: vec![&UNREADABLE],
            ..Look::default()
        });
        look.health.sr = self.sr;
        look.health.sr_type = SR_TYPE.name.to_owned();
        look.health.version = env!("CARGO_PKG_VERSION").to_owned();
        look
    }

    fn alarm(&self, report: &Report) -> sr::engine::Result<()> {
        let raised = update_alone(self.xapi.as_ref(), &self.host, report);
        Ok(raised.of_xapi(|| "raising and clearing alarms in XAPI".to_owned())?)
    }

    fn preflight(
        &self,
        datapaths: &[String],
        _others: &[Pairs],
    ) -> sr::engine::Result<Vec<CheckLine>> {
        self.require_datapath(datapaths)?;
        self.run(|sr| Ok(sr.check()))
    }

    fn doctor(&self, datapaths: &[String], others: &[Pairs], facts: &Facts) -> Vec<Finding> {
        let mut found = checked(self.preflight(datapaths, others), &self.sr);
        found.extend(doctored(self.run(|sr| sr.doctor(facts)), &self.sr));
        found.extend(doctor::limits(&facts.vdis, self.config.limits));
        found
    }

    fn overview(&self) -> sr::engine::Result<Overview> {
        self.run(|sr| sr.overview())
    }

    fn places(&self) -> sr::engine::Result<Vec<VdiPlace>> {
        self.run(|sr| sr.places())
    }

    fn repair(&self) -> sr::engine::Result<()> {
        self.run(|sr| {
            sr.repair();
            Ok(())
        })
    }

    fn scan(&self, known: &[XapiVdi]) -> sr::engine::Result<Scan> {
        let scan = self.run(|sr| sr.scan(known))?;
        Ok(Scan {
            vdis: scan.vdis,
            disks_of_snapshots: Vec::new(),
            usage: scan.usage.into(),
        })
    }

    /// XAPI alone keeps the SR's name.
    fn update(&self, _name: &SrName<'_>) -> sr::engine::Result<Usage> {
        self.run(|sr| sr.usage()).map(Usage::from)
    }

    fn create_vdi(&self, vdi: &Uuid, size: i128, xapi: XapiFields) -> sr::engine::Result<u64> {
        self.run(|sr| sr.create(vdi, &xapi.name_label, size))
    }

    fn delete_vdi(&self, vdi: &Uuid) -> sr::engine::Result<()> {
        self.run(|sr| sr.delete(vdi))
    }

    fn introduce_vdi(&self, vdi: &Uuid) -> sr::engine::Result<ScannedVdi> {
        self.run(|sr| sr.introduce(vdi))
    }

    /// XAPI alone keeps names and descriptions.
    fn update_vdis(&self, _vdis: &[XapiVdi]) -> sr::engine::Result<()> {
        Ok(())
    }

    /// Makes a full copy. Its time grows with the size.
    fn clone_vdi(
        &self,
        vdi: &Uuid,
        new: &Uuid,
        _on_boot: OnBoot,
    ) -> sr::engine::Result<ScannedVdi> {
        self.run(|sr| sr.copy(vdi, new))
    }

    fn activate_vdi(&self, vdi: &Uuid, writable: bool) -> sr::engine::Result<PathBuf> {
        self.run(|sr| sr.activate(vdi, writable))
            .map(|device| device.path)
    }

    fn default_limits(&self) -> DiskLimits {
        self.config.limits
    }

    fn deactivate_vdi(&self, vdi: &Uuid) -> sr::engine::Result<()> {
        self.run(|sr| sr.deactivate(vdi))
    }

    fn release_vdi(&self, vdi: &Uuid, force: bool) -> sr::engine::Result<Option<String>> {
        let claim = self.run(|sr| sr.break_claim(vdi, force))?;
        Ok(claim.map(|claim| claim.host))
    }

    fn reconcile_vdi(&self, vdi: &Uuid) -> sr::engine::Result<bool> {
        self.run(|sr| sr.reconcile_vdi(vdi))
    }

    fn accept_vdi(&self, vdi: &Uuid) -> sr::engine::Result<()> {
        self.run(|sr| sr.accept(vdi))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PROVISIONER_PREFIX, VALID_KEYS};

    #[test]
    fn every_key_that_is_accepted_is_described_and_no_other() {
        let described: Vec<_> = SR_TYPE.configuration.iter().map(|key| key.name).collect();
        let (own, fixed): (Vec<_>, Vec<_>) = described
            .into_iter()
            .partition(|name| name.starts_with(PROVISIONER_PREFIX));
        assert_eq!(own, [format!("{PROVISIONER_PREFIX}NAME")]);
        assert_eq!(fixed, VALID_KEYS);
        for name in fixed.iter().chain(&own) {
            let value = match *name {
                "datapath" => "aio",
                "iops" | "mbps" => "7",
                _ => "/x",
            };
            let pairs = [("volumes", "/x"), (*name, value)];
            let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
            Config::parse(pairs.into()).map(drop).unwrap_or_else(|e| {
                panic!("{name}: {e}");
            });
        }
    }

    #[test]
    fn a_default_is_what_leaving_the_key_out_means() {
        let meaning = |given: Option<(&str, &str)>| {
            let pairs = [Some(("volumes", "/x")), given].into_iter().flatten();
            let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
            Config::parse(pairs.collect())
        };
        let given = SR_TYPE.configuration.iter();
        let given = given.filter_map(|key| key.default.map(|value| (key.name, value)));
        for (name, value) in given {
            assert_eq!(meaning(Some((name, value))), meaning(None), "{name}");
        }
    }
}
