//! `smblock._core.Sr`: what the SM drivers call, one method for each of SM's.

mod run;
mod shape;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use sr_ceph::device_config::DeviceConfig;
use sr_ceph::vdi::create::NewDisk;

use self::shape::{describe, sr_attributes};
use crate::convert;
use crate::error::Failure;
use crate::panic::{attached, detached};

pub use self::shape::sm_config;

/// An SR of type cephrbd, as one SM command on one host sees it. Making one checks the
/// device-config; the cluster is reached by the first call that needs it.
#[pyclass(module = "smblock._core")]
#[pyo3(text_signature = "(sr_uuid, host_uuid, device_config, toolstack)")]
pub struct Sr {
    uuid: String,
    host: String,
    config: DeviceConfig,
    toolstack: Arc<PyObject>,
    needs_worker: AtomicBool,
}

/// XAPI's `on_boot` of a disk that forgets its changes whenever its VM starts.
const FORGETS: &str = "reset";

#[pymethods]
impl Sr {
    #[new]
    fn new(
        sr_uuid: String,
        host_uuid: String,
        device_config: BTreeMap<String, String>,
        toolstack: PyObject,
    ) -> PyResult<Self> {
        attached("SR.load", || {
            Ok(Sr {
                uuid: sr_uuid,
                host: host_uuid,
                config: DeviceConfig::parse(device_config).map_err(Failure::from)?,
                toolstack: Arc::new(toolstack),
                needs_worker: AtomicBool::new(false),
            })
        })
    }

    /// SM's type of every VDI: `aio` (tapdisk) or `phy` (the kernel's blkback).
    #[getter]
    fn vdi_type(&self) -> &'static str {
        self.config.datapath().name()
    }

    /// What every VDI's `sm_config` must hold besides XAPI's own keys.
    #[getter]
    fn sm_config(&self) -> HashMap<&'static str, &'static str> {
        sm_config(self.config.datapath())
    }

    /// `sr_create`. Refused where SM on this host does not connect disks the way that the
    /// device-config asks for.
    #[pyo3(text_signature = "($self, name_label, name_description, sm_datapaths)")]
    fn create(
        &self,
        py: Python<'_>,
        name_label: &str,
        name_description: &str,
        sm_datapaths: Vec<String>,
    ) -> PyResult<()> {
        self.require_datapath("SR.create", &sm_datapaths)?;
        self.run(py, "SR.create", |sr| {
            sr.create_sr(name_label, name_description)
        })
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

    /// `sr_detach`. Needs no cluster: an SR can be unplugged while that is away.
    #[pyo3(text_signature = "($self)")]
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        if !self.maps_any(py, "SR.detach")? {
            return Ok(());
        }
        self.unplug_sr(py)
    }

    /// `check_sr`, which SM calls every ten minutes on each host: raises an alert if a disk of this host
    /// was cut off. Needs no cluster if no disk is mapped.
    #[pyo3(text_signature = "($self)")]
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if !self.maps_any(py, "SR.check")? {
            return Ok(());
        }
        self.run(py, "SR.check", |sr| {
            sr.alert_if_cut_off();
            Ok(())
        })
    }

    /// `sr_probe`: the SRs in the pool, or, without a pool, the pools that could hold one; XML.
    #[pyo3(text_signature = "($self)")]
    fn probe(&self, py: Python<'_>) -> PyResult<String> {
        detached(py, "SR.probe", || crate::probe::probe(&self.config))
    }

    /// `sr_scan`: takes XAPI's records of the SR's VDIs by reference; answers the attributes of
    /// every VDI in the SR, for each snapshot that is new to XAPI its disk, and the SR's attributes.
    #[pyo3(text_signature = "($self, records)")]
    fn scan(
        &self,
        py: Python<'_>,
        records: HashMap<String, &PyDict>,
    ) -> PyResult<(Vec<PyObject>, HashMap<String, String>, PyObject)> {
        let known = attached("SR.scan", || convert::xapi_vdis(records))?;
        let scan = self.run(py, "SR.scan", |sr| sr.scan(&known))?;
        let vdis = scan.vdis.iter().map(|vdi| convert::attributes(py, vdi));
        let usage = sr_attributes(py, &scan.usage, scan.virtual_allocation())?;
        let lineage = scan.lineage().into_iter();
        let lineage = lineage.map(|(snapshot, disk)| (snapshot.to_string(), disk.to_string()));
        Ok((vdis.collect::<PyResult<_>>()?, lineage.collect(), usage))
    }

    /// `sr_update`: takes the SR's name from XAPI; answers the SR's attributes.
    #[pyo3(text_signature = "($self, name_label, name_description)")]
    fn update(
        &self,
        py: Python<'_>,
        name_label: &str,
        name_description: &str,
    ) -> PyResult<PyObject> {
        let (usage, allocated) = self.run(py, "SR.update", |sr| {
            sr.update_sr(name_label, name_description)?;
            Ok((sr.usage()?, sr.virtual_allocation()?))
        })?;
        sr_attributes(py, &usage, allocated)
    }

    /// `vdi_create`: takes the rest from SM's `VDI` object; answers the size in bytes, which is
    /// never less than asked.
    #[pyo3(text_signature = "($self, vdi_uuid, size, vdi)")]
    fn create_vdi(&self, py: Python<'_>, vdi_uuid: &str, size: i128, vdi: &PyAny) -> PyResult<u64> {
        let xapi = attached("VDI.create", || convert::fields_of(vdi))?;
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.create", |sr| {
            sr.create_disk(&NewDisk { uuid, size, xapi })
                .map(|record| record.size)
        })
    }

    /// `vdi_delete`
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn delete_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.delete", |sr| sr.delete_vdi(&uuid))
    }

    /// `vdi_snapshot`: answers the new VDI's attributes.
    #[pyo3(text_signature = "($self, vdi_uuid, new_uuid)")]
    fn snapshot_vdi(&self, py: Python<'_>, vdi_uuid: &str, new_uuid: &str) -> PyResult<PyObject> {
        let (uuid, new) = (
            convert::uuid("VDI", vdi_uuid)?,
            convert::uuid("VDI", new_uuid)?,
        );
        let record = self.run(py, "VDI.snapshot", |sr| sr.snapshot_vdi(&uuid, &new))?;
        convert::attributes(py, &record.into())
    }

    /// `vdi_clone`: answers the new VDI's attributes. Takes XAPI's `on_boot` of the source.
    #[pyo3(text_signature = "($self, vdi_uuid, new_uuid, on_boot)")]
    fn clone_vdi(
        &self,
        py: Python<'_>,
        vdi_uuid: &str,
        new_uuid: &str,
        on_boot: &str,
    ) -> PyResult<PyObject> {
        let (uuid, new) = (
            convert::uuid("VDI", vdi_uuid)?,
            convert::uuid("VDI", new_uuid)?,
        );
        let record = self.run(py, "VDI.clone", |sr| match on_boot {
            FORGETS => sr.clone_vdi(&uuid, &new),
            _ => sr.clone_lasting_vdi(&uuid, &new),
        })?;
        convert::attributes(py, &record.into())
    }

    /// `vdi_epoch_begin`: the VM of a disk starts. Takes XAPI's `on_boot` of the disk.
    #[pyo3(text_signature = "($self, vdi_uuid, on_boot)")]
    fn begin_epoch(&self, py: Python<'_>, vdi_uuid: &str, on_boot: &str) -> PyResult<()> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.epoch_begin", |sr| match on_boot {
            FORGETS => sr.reset_vdi(&uuid),
            _ => sr.forget_reset_point(&uuid),
        })
    }

    /// `vdi_revert`: answers the disk's size in bytes, which is the snapshot's.
    #[pyo3(text_signature = "($self, vdi_uuid, snapshot_uuid)")]
    fn revert_vdi(&self, py: Python<'_>, vdi_uuid: &str, snapshot_uuid: &str) -> PyResult<u64> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        let snapshot = convert::uuid("VDI", snapshot_uuid)?;
        self.run(py, "VDI.revert", |sr| sr.revert_vdi(&uuid, &snapshot))
            .map(|record| record.size)
    }

    /// `vdi_resize`: answers the size in bytes, which is never less than asked.
    #[pyo3(text_signature = "($self, vdi_uuid, size)")]
    fn resize_vdi(&self, py: Python<'_>, vdi_uuid: &str, size: i128) -> PyResult<u64> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.resize", |sr| sr.resize_vdi(&uuid, size))
    }

    /// `vdi_update`: takes XAPI's record of the VDI, by reference, and the UUIDs of the disks that
    /// it refers to, by reference.
    #[pyo3(text_signature = "($self, records, disks)")]
    fn update_vdis(
        &self,
        py: Python<'_>,
        records: HashMap<String, &PyDict>,
        disks: HashMap<String, String>,
    ) -> PyResult<()> {
        let vdis = attached("VDI.update", || convert::xapi_vdis_beside(records, &disks))?;
        self.run(py, "VDI.update", |sr| {
            vdis.iter().try_for_each(|vdi| sr.update_vdi(vdi))
        })
    }

    /// `vdi_introduce`: the attributes of a VDI that the SR holds.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn introduce_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<PyObject> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        let vdi = self.run(py, "VDI.introduce", |sr| sr.introduce_vdi(&uuid))?;
        convert::attributes(py, &vdi)
    }

    /// Maps a VDI on this host: the path of its block device, the same however often it is asked.
    #[pyo3(text_signature = "($self, vdi_uuid, writable)")]
    fn activate_vdi(&self, py: Python<'_>, vdi_uuid: &str, writable: bool) -> PyResult<String> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.activate", |sr| sr.activate_vdi(&uuid, writable))
            .map(|mapped| mapped.device.display().to_string())
    }

    /// Unmaps a VDI on this host. That its claim could not be given back is only logged.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn deactivate_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.unplug_vdi(py, &uuid)
    }

    /// Releases the claim on a VDI, of any host. Returns that host's UUID, or None.
    #[pyo3(text_signature = "($self, vdi_uuid, force)")]
    fn release_vdi(&self, py: Python<'_>, vdi_uuid: &str, force: bool) -> PyResult<Option<String>> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        let claim = self.run(py, "VDI.release", |sr| sr.break_claim(&uuid, force))?;
        Ok(claim.map(|claim| claim.owner.host))
    }

    /// Removes what a killed command of this host left of a VDI: a device that is not open, and the
    /// claim. Returns whether this host uses the VDI. The caller holds SM's lock of the VDI, and has
    /// made sure that no tapdisk serves it: a paused one has its device closed.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn settle_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<bool> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.settle", |sr| sr.settle_vdi(&uuid))
    }

    /// Finishes or undoes what a dead process left unfinished on a VDI, and lets the disk go on.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn recover_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        let uuid = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, "VDI.recover", |sr| sr.recover_vdi(&uuid))
    }

    /// Records that a host is dead, and puts its kernel's clients on the cluster's blocklist. Returns
    /// their addresses.
    #[pyo3(text_signature = "($self, host_uuid, reason)")]
    fn declare_dead(&self, py: Python<'_>, host_uuid: &str, reason: &str) -> PyResult<Vec<String>> {
        self.run(py, "SR.declare_dead", |sr| {
            sr.declare_dead(host_uuid, reason)
        })
    }

    /// Puts every client of those clients' IP addresses on the cluster's blocklist, also those that
    /// the host starts after its next boot. For a host that must not come back for 24 h.
    #[pyo3(text_signature = "($self, addresses)")]
    fn blocklist_hosts(&self, py: Python<'_>, addresses: Vec<String>) -> PyResult<Vec<String>> {
        self.run(py, "SR.blocklist_hosts", |sr| {
            sr.blocklist_hosts(&addresses)
        })
    }

    /// Whether what was called so far found data to be freed that the cluster's manager does not
    /// take: then `smblock-admin reclaim` is to be started in the background.
    #[getter]
    fn needs_worker(&self) -> bool {
        self.needs_worker.load(Ordering::Relaxed)
    }

    /// Frees here and now whatever can be freed, and flattens long chains. `report` is called with
    /// "progress", "done", "failed" or "waits", an image's name, a text, how much is done, and of how
    /// much. The text of a progress is the unit: "objects" or "bytes". Returns how much failed.
    #[pyo3(text_signature = "($self, report)")]
    fn reclaim(&self, py: Python<'_>, report: PyObject) -> PyResult<usize> {
        self.run(py, "SR.reclaim", |sr| {
            sr.reclaim(|pending, step| {
                let (state, text, (done, total)) = describe(pending, &step);
                let image = pending.image.name.as_str();
                let arguments = (state, image, text, done, total);
                let told = Python::with_gil(|py| report.call1(py, arguments));
                if let Err(e) = told {
                    log::warn!("nobody hears that image {image} is {state}: {e}");
                }
            })
        })
    }

    /// What is still to be freed or flattened: an image's name, what is to be done about it, and
    /// what that waits for, or None.
    #[pyo3(text_signature = "($self)")]
    fn pending(&self, py: Python<'_>) -> PyResult<Vec<(String, String, Option<String>)>> {
        let pending = self.run(py, "SR.pending", |sr| sr.pending())?.into_iter();
        let texts = pending.map(|pending| {
            let holds_up = pending.holds_up.map(|holds_up| holds_up.to_string());
            (pending.image.name, pending.kind.to_string(), holds_up)
        });
        Ok(texts.collect())
    }
}
