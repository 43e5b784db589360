//! `smblock._core.CrucibleSr`: what the driver of type crucible calls, one method for each of SM's,
//! and `serve_crucible`, the body of the process that looks after a volume's server.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::wrap_pyfunction;
use sr::host::{HostError, HostReply};
use sr::xapi::ScannedVdi;
use sr_crucible::config::Config;
use sr_crucible::dom0::Dom0;
use sr_crucible::{HostState, Registry, Result as SrResult, SmConfig, Sources, Usage, Volumes};
use uuid::Uuid;

use crate::convert;
use crate::error::Failure;
use crate::panic::{attached, detached};
use crate::sr::sm_config;

/// An SR of type crucible, as one SM command on one host sees it. Making one checks the
/// device-config; nothing else is looked at before the first call that needs it.
#[pyclass(module = "smblock._core")]
#[pyo3(text_signature = "(sr_uuid, host_uuid, device_config, xapi, runner)")]
pub struct CrucibleSr {
    uuid: String,
    host: String,
    config: Config,
    xapi: PyObject,
    runner: Vec<OsString>,
}

/// XAPI, through a Python object that has a session with it.
struct PythonRegistry(PyObject);

impl PythonRegistry {
    fn call<T: for<'p> FromPyObject<'p>>(
        &self,
        method: &str,
        arguments: &[&str],
    ) -> Result<T, HostError> {
        Python::with_gil(|py| {
            let arguments = pyo3::types::PyTuple::new(py, arguments);
            let answer = self.0.call_method1(py, method, arguments);
            let answer = answer.and_then(|answer| answer.extract(py));
            answer.map_err(|e| HostError {
                message: e.to_string(),
                errno: None,
                id: None,
            })
        })
    }
}

impl Registry for PythonRegistry {
    fn sm_config(&self, vdi: &Uuid) -> sr::host::Result<Option<SmConfig>> {
        self.call("sm_config", &[&vdi.to_string()])
    }

    fn add(&self, vdi: &Uuid, key: &str, value: &str) -> sr::host::Result<bool> {
        self.call("add", &[&vdi.to_string(), key, value])
    }

    fn remove(&self, vdi: &Uuid, key: &str) -> sr::host::Result<()> {
        let answer = self.call::<PyObject>("remove", &[&vdi.to_string(), key]);
        answer.map(drop)
    }

    fn vdis(&self) -> sr::host::Result<Vec<(Uuid, SmConfig)>> {
        let vdis: HashMap<String, SmConfig> = self.call("vdis", &[])?;
        let vdis = vdis.into_iter().map(|(text, sm_config)| {
            let uuid = text.parse().map_err(|_| HostError {
                message: format!("{text:?} is not the UUID of a VDI"),
                errno: None,
                id: None,
            })?;
            Ok((uuid, sm_config))
        });
        vdis.collect()
    }

    fn pool(&self) -> sr::host::Result<String> {
        self.call("pool_uuid", &[])
    }

    fn host(&self, host: &str) -> sr::host::Result<Option<HostState>> {
        let known: Option<(bool, Option<String>)> = self.call("host_state", &[host])?;
        Ok(known.map(|(declared_dead, boot_id)| HostState {
            declared_dead,
            boot_id,
        }))
    }

    fn ask(&self, host: &str, vdi: &Uuid) -> sr::host::Result<Option<HostReply>> {
        let reply: String = self.call("settle_host", &[host, &vdi.to_string()])?;
        HostReply::parse(host, &reply)
    }

    fn publish_boot(&self, boot_id: &str) -> sr::host::Result<()> {
        let answer = self.call::<PyObject>("publish_boot", &[boot_id]);
        answer.map(drop)
    }

    fn revive(&self, host: &str) -> sr::host::Result<()> {
        let answer = self.call::<PyObject>("revive", &[host]);
        answer.map(drop)
    }

    fn tell(&self, vdi: &Uuid, title: &str, text: &str) -> sr::host::Result<()> {
        let answer = self.call::<PyObject>("tell", &[&vdi.to_string(), title, text]);
        answer.map(drop)
    }
}

impl CrucibleSr {
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        operation: &str,
        work: impl FnOnce(&Volumes<'_>) -> SrResult<T> + Send,
    ) -> PyResult<T> {
        let uuid = convert::uuid("SR", &self.uuid)?;
        let registry = PythonRegistry(self.xapi.clone());
        detached(py, operation, move || -> Result<T, Failure> {
            let read_secret = |secret: &Uuid| {
                let read = registry.call::<String>("secret", &[&secret.to_string()]);
                read.map_err(|e| e.message)
            };
            let runner = self.runner.clone();
            let server = &self.config.server;
            let machine = Dom0::new(&self.host, server, runner, Box::new(read_secret))
                .map_err(|source| crate::failures::of_host("looking at this host", source))?;
            let sources = Sources::new(&self.config, uuid);
            Ok(work(&Volumes::new(&registry, &machine, &sources, uuid))?)
        })
    }

    fn require_datapath(&self, operation: &str, sm_datapaths: &[String]) -> PyResult<()> {
        attached(operation, || {
            let required = self.config.datapath.require(sm_datapaths);
            Ok(required.map_err(Failure::from)?)
        })
    }
}

#[pymethods]
impl CrucibleSr {
    #[new]
    fn new(
        sr_uuid: String,
        host_uuid: String,
        device_config: BTreeMap<String, String>,
        xapi: PyObject,
        runner: Vec<String>,
    ) -> PyResult<Self> {
        attached("SR.load", || {
            Ok(CrucibleSr {
                uuid: sr_uuid,
                host: host_uuid,
                config: Config::parse(device_config).map_err(Failure::from)?,
                xapi,
                runner: runner.into_iter().map(OsString::from).collect(),
            })
        })
    }

    /// SM's type of every VDI: `aio` (tapdisk) or `phy` (the kernel's blkback).
    #[getter]
    fn vdi_type(&self) -> &'static str {
        self.config.datapath.name()
    }

    /// What every VDI's `sm_config` must hold besides XAPI's and this driver's own keys.
    #[getter]
    fn sm_config(&self) -> HashMap<&'static str, &'static str> {
        sm_config(self.config.datapath)
    }

    /// `sr_create`. Refused where SM on this host does not connect disks the way that the
    /// device-config asks for.
    #[pyo3(text_signature = "($self, sm_datapaths)")]
    fn create(&self, py: Python<'_>, sm_datapaths: Vec<String>) -> PyResult<()> {
        self.require_datapath("SR.create", &sm_datapaths)?;
        self.run(py, "SR.create", |sr| sr.create_sr())
    }

    /// `sr_delete`
    #[pyo3(text_signature = "($self)")]
    fn delete(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, "SR.delete", |sr| sr.delete_sr())
    }

    /// `sr_attach`. Refused as `create` is.
    #[pyo3(text_signature = "($self, sm_datapaths)")]
    fn attach(&self, py: Python<'_>, sm_datapaths: Vec<String>) -> PyResult<()> {
        self.require_datapath("SR.attach", &sm_datapaths)?;
        self.run(py, "SR.attach", |sr| sr.attach_sr())
    }

    /// `sr_detach`
    #[pyo3(text_signature = "($self)")]
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, "SR.detach", |sr| sr.detach_sr())
    }

    /// `sr_scan`: takes XAPI's records of the SR's VDIs by reference; answers the attributes of
    /// every VDI in the SR, and the SR's. Has XAPI tell which of them are not well.
    #[pyo3(text_signature = "($self, records)")]
    fn scan(
        &self,
        py: Python<'_>,
        records: HashMap<String, &PyDict>,
    ) -> PyResult<(Vec<PyObject>, PyObject)> {
        let known = attached("SR.scan", || convert::xapi_vdis(records))?;
        let scan = self.run(py, "SR.scan", |sr| {
            let scan = sr.scan(&known)?;
            sr.tell_health(&scan.listing, &known);
            Ok(scan)
        })?;
        let vdis = scan.vdis.iter().map(|vdi| vdi_attributes(py, vdi));
        Ok((
            vdis.collect::<PyResult<_>>()?,
            sr_attributes(py, scan.usage)?,
        ))
    }

    /// `sr_update`: answers the SR's attributes.
    #[pyo3(text_signature = "($self)")]
    fn update(&self, py: Python<'_>) -> PyResult<PyObject> {
        let usage = self.run(py, "SR.update", |sr| sr.usage())?;
        sr_attributes(py, usage)
    }

    /// `vdi_create`: takes the name from SM's `VDI` object; answers the size in bytes, which is
    /// never less than asked.
    #[pyo3(text_signature = "($self, vdi_uuid, size, vdi)")]
    fn create_vdi(&self, py: Python<'_>, vdi_uuid: &str, size: u64, vdi: &PyAny) -> PyResult<u64> {
        let name: String = attached("VDI.create", || vdi.getattr("label")?.extract())?;
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.create", |sr| sr.create(&uuid, &name, size))
    }

    /// `vdi_delete`
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn delete_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.delete", |sr| sr.delete(&uuid))
    }

    /// `vdi_clone`, by a full copy: answers the new VDI's attributes.
    #[pyo3(text_signature = "($self, vdi_uuid, new_uuid)")]
    fn copy_vdi(&self, py: Python<'_>, vdi_uuid: &str, new_uuid: &str) -> PyResult<PyObject> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        let new = convert::uuid("VDI", new_uuid)?;
        let vdi = self.run(py, "VDI.clone", |sr| sr.copy(&uuid, &new))?;
        vdi_attributes(py, &vdi)
    }

    /// `vdi_introduce`: the attributes of a VDI that the SR holds.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn introduce_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<PyObject> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        let vdi = self.run(py, "VDI.introduce", |sr| sr.introduce(&uuid))?;
        vdi_attributes(py, &vdi)
    }

    /// Serves a VDI on this host: the path of its block device, the same however often it is asked.
    #[pyo3(text_signature = "($self, vdi_uuid, writable)")]
    fn activate_vdi(&self, py: Python<'_>, vdi_uuid: &str, writable: bool) -> PyResult<String> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.activate", |sr| sr.activate(&uuid, writable))
            .map(|device| device.path.display().to_string())
    }

    /// Stops serving a VDI on this host.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn deactivate_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.deactivate", |sr| sr.deactivate(&uuid))
    }

    /// Removes what a killed command of this host left of a VDI: its device, its server, and the claim.
    /// Returns whether this host uses the VDI. The caller is as that of `Sr.settle_vdi`.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn settle_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<bool> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.settle", |sr| sr.settle_vdi(&uuid))
    }

    /// A report on each part that the SR needs on this host, as text or as JSON, and whether it would
    /// work.
    #[pyo3(text_signature = "($self, sm_datapaths, as_json)")]
    fn check(
        &self,
        py: Python<'_>,
        sm_datapaths: Vec<String>,
        as_json: bool,
    ) -> PyResult<(String, bool)> {
        self.require_datapath("check", &sm_datapaths)?;
        let lines = self.run(py, "check", |sr| Ok(sr.check()))?;
        Ok(crate::check::shown(lines, as_json))
    }

    /// Releases the claim on a VDI, of any host. Returns that host's UUID, or None.
    #[pyo3(text_signature = "($self, vdi_uuid, force)")]
    fn release_vdi(&self, py: Python<'_>, vdi_uuid: &str, force: bool) -> PyResult<Option<String>> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        let claim = self.run(py, "VDI.release", |sr| sr.break_claim(&uuid, force))?;
        Ok(claim.map(|claim| claim.host))
    }

    /// Forgets which regions and which key a volume was served with: the next activation records those
    /// that it finds.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn accept_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.accept", |sr| sr.accept(&uuid))
    }
}

fn vdi_attributes(py: Python<'_>, vdi: &ScannedVdi) -> PyResult<PyObject> {
    let attributes = convert::attributes(py, vdi)?;
    // A volume's regions take their whole space from the beginning.
    attributes.as_ref(py).set_item("utilisation", vdi.size)?;
    Ok(attributes)
}

fn sr_attributes(py: Python<'_>, usage: Usage) -> PyResult<PyObject> {
    let attributes = PyDict::new(py);
    attributes.set_item("virtual_allocation", usage.allocated)?;
    attributes.set_item("physical_size", usage.total)?;
    attributes.set_item("physical_utilisation", usage.used)?;
    Ok(attributes.into())
}

/// Runs the server of a run folder until it ends, and hands every line that it says, without the
/// volume's key, to `log`. Answers how it ended, or None where it was told to; requests that were on
/// their way to it have failed by then.
#[pyfunction]
#[pyo3(text_signature = "(folder, log)")]
fn serve_crucible(py: Python<'_>, folder: PathBuf, log: PyObject) -> PyResult<Option<String>> {
    detached(py, "serve", move || -> Result<_, Failure> {
        let mut say = |line: &str| {
            if let Err(e) = Python::with_gil(|py| log.call1(py, (line,))) {
                ::log::warn!("a line of a server is logged nowhere else: {line} ({e})");
            }
        };
        let ended = sr_crucible::runner::serve(&folder, &mut say)?;
        Ok((!ended.asked).then(|| ended.to_string()))
    })
}

/// Adds the class and the function to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_class::<CrucibleSr>()?;
    module.add_function(wrap_pyfunction!(serve_crucible, module)?)
}
