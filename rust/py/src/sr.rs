//! `smblock._core.Sr`: one method for each command of SM, for every SR type.

mod run;

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use sr::alarm::Report;
use sr::engine::{AdoptionRequest, OnBoot, Pairs, SrName, VdiPlace};

pub use self::run::Sr;
use crate::convert::RequestedSize;
use crate::error::Failure;
use crate::findings::{self, Finding};
use crate::panic::{attached, detached};
use crate::shapes::{describe, Pending, Scan};
use crate::{convert, engines, probe, shapes};

#[pymethods]
impl Sr {
    #[new]
    fn new(
        sr_type: &str,
        sr_uuid: String,
        host_uuid: String,
        device_config: Pairs,
        xapi: PyObject,
    ) -> PyResult<Self> {
        attached("SR.load", || {
            let uuid = sr_uuid.parse().unwrap_or_default();
            Ok(Sr {
                uuid: sr_uuid,
                engine: engines::open(sr_type, uuid, host_uuid, device_config, xapi)?,
            })
        })
    }

    /// SM's type of every VDI: `aio` (tapdisk) or `phy` (the kernel's blkback).
    #[getter]
    fn vdi_type(&self) -> &'static str {
        self.engine.datapath().name()
    }

    /// What every VDI's `sm_config` must hold besides XAPI's own keys and those of the SR type.
    #[getter]
    fn sm_config(&self) -> HashMap<&'static str, &'static str> {
        self.engine.datapath().sm_config().iter().copied().collect()
    }

    /// Raises an error if the SR type does not have the capability of that name.
    #[pyo3(text_signature = "($self, capability)")]
    fn require(&self, py: Python<'_>, capability: &str) -> PyResult<()> {
        let capability = shapes::capability(capability)?;
        detached(py, "require", || self.sr_type().require(capability))
    }

    /// `sr_create`. Refused if SM on this host does not have the datapath of the device-config. The SR type
    /// may record the name.
    #[args(name_label = "\"\"", name_description = "\"\"")]
    #[pyo3(text_signature = "($self, sm_datapaths, name_label=\"\", name_description=\"\")")]
    fn create(
        &self,
        py: Python<'_>,
        sm_datapaths: Vec<String>,
        name_label: &str,
        name_description: &str,
    ) -> PyResult<()> {
        let name = name(name_label, name_description);
        self.run(py, "SR.create", |sr| sr.create(&name, &sm_datapaths))
    }

    /// `sr_delete`
    #[pyo3(text_signature = "($self)")]
    fn delete(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, "SR.delete", |sr| sr.delete())
    }

    /// `sr_attach`. Refused as `create` is.
    #[pyo3(text_signature = "($self, sm_datapaths)")]
    fn attach(&self, py: Python<'_>, sm_datapaths: Vec<String>) -> PyResult<()> {
        self.run(py, "SR.attach", |sr| sr.attach(&sm_datapaths))
    }

    /// `sr_detach`
    #[pyo3(text_signature = "($self)")]
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, "SR.detach", |sr| sr.detach())
    }

    /// `check_sr`, which SM calls every ten minutes on each host: raises and clears alarms. `facts`: what XAPI has
    /// about the pool and the SR, as JSON.
    #[pyo3(text_signature = "($self, facts)")]
    fn check(&self, py: Python<'_>, facts: &str) -> PyResult<()> {
        let facts = findings::pool_facts(facts)?;
        self.run(py, "SR.check", |sr| sr.check(facts))
    }

    /// The state of the SR in numbers, with the findings of the check, as JSON. An SR that cannot be read is a
    /// finding.
    #[pyo3(text_signature = "($self)")]
    fn health(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, "SR.health", |sr| Ok(sr.look().health().json()))
    }

    /// Raises an alarm if only one host of the pool can use the SR. `facts`: as in `check`.
    #[pyo3(text_signature = "($self, facts)")]
    fn warn_unless_shared(&self, py: Python<'_>, facts: &str) -> PyResult<()> {
        let facts = findings::pool_facts(facts)?;
        self.run(py, "SR.warn_unless_shared", |sr| {
            sr.warn_unless_shared(self.uuid.parse().unwrap_or_default(), &facts)
        })
    }

    /// Raises an alarm that the server of a volume has ended on this host by itself.
    #[pyo3(text_signature = "($self, vdi_uuid, name, host_uuid, how)")]
    fn report_ended_server(
        &self,
        py: Python<'_>,
        vdi_uuid: &str,
        name: &str,
        host_uuid: &str,
        how: &str,
    ) -> PyResult<()> {
        let sr_uuid = self.uuid.parse().unwrap_or_default();
        self.run_on(py, "VDI.report_ended_server", vdi_uuid, |sr, vdi| {
            let found = sr_crucible::ended_server(vdi, name, host_uuid, how);
            sr.alarm(&Report::event(sr_uuid, vec![found]))
        })
    }

    /// `sr_probe`: returns the SRs, or the places that could hold one, as XML.
    #[pyo3(text_signature = "($self)")]
    fn probe(&self, py: Python<'_>) -> PyResult<String> {
        detached(py, "SR.probe", || -> Result<_, Failure> {
            probe::xml(self.engine.probe()?)
        })
    }

    /// `sr_scan`: lists the VDIs. `records` are XAPI's records of the SR's VDIs, by reference.
    #[pyo3(text_signature = "($self, records)")]
    fn scan(&self, py: Python<'_>, records: HashMap<String, &PyDict>) -> PyResult<Scan> {
        let known = attached("SR.scan", || convert::xapi_vdis(records))?;
        let scan = self.run(py, "SR.scan", |sr| sr.scan(&known))?;
        Scan::of(py, scan, self.sr_type())
    }

    /// `sr_update`: records the SR's name. Returns the SR's attributes.
    #[args(name_label = "\"\"", name_description = "\"\"")]
    #[pyo3(text_signature = "($self, name_label=\"\", name_description=\"\")")]
    fn update(
        &self,
        py: Python<'_>,
        name_label: &str,
        name_description: &str,
    ) -> PyResult<PyObject> {
        let name = name(name_label, name_description);
        let usage = self.run(py, "SR.update", |sr| sr.update(&name))?;
        shapes::sr_attributes(py, &usage)
    }

    /// `vdi_create`: reads the other fields from SM's `VDI` object. Returns the size in bytes, which is never
    /// less than `size`.
    #[pyo3(text_signature = "($self, vdi_uuid, size, vdi)")]
    fn create_vdi(
        &self,
        py: Python<'_>,
        vdi_uuid: &str,
        size: RequestedSize,
        vdi: &PyAny,
    ) -> PyResult<u64> {
        let xapi = attached("VDI.create", || convert::fields_of(vdi))?;
        self.run_on(py, "VDI.create", vdi_uuid, |sr, vdi| {
            sr.create_vdi(vdi, size.0, xapi)
        })
    }

    /// `vdi_delete`
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn delete_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        self.run_on(py, "VDI.delete", vdi_uuid, |sr, vdi| sr.delete_vdi(vdi))
    }

    /// `vdi_snapshot`: returns the new VDI's attributes.
    #[pyo3(text_signature = "($self, vdi_uuid, new_uuid)")]
    fn snapshot_vdi(&self, py: Python<'_>, vdi_uuid: &str, new_uuid: &str) -> PyResult<PyObject> {
        let new = convert::uuid("VDI", new_uuid)?;
        let made = self.run_on(py, "VDI.snapshot", vdi_uuid, |sr, vdi| {
            sr.snapshot_vdi(vdi, &new)
        })?;
        convert::attributes(py, &made, self.sr_type())
    }

    /// `vdi_clone`: returns the new VDI's attributes. `on_boot` is XAPI's value of the source.
    #[pyo3(text_signature = "($self, vdi_uuid, new_uuid, on_boot)")]
    fn clone_vdi(
        &self,
        py: Python<'_>,
        vdi_uuid: &str,
        new_uuid: &str,
        on_boot: &str,
    ) -> PyResult<PyObject> {
        let (new, on_boot) = (convert::uuid("VDI", new_uuid)?, OnBoot::of(on_boot));
        let made = self.run_on(py, "VDI.clone", vdi_uuid, |sr, vdi| {
            sr.clone_vdi(vdi, &new, on_boot)
        })?;
        convert::attributes(py, &made, self.sr_type())
    }

    /// `vdi_epoch_begin`: the VM of a disk starts. `on_boot` is XAPI's value of the disk.
    #[pyo3(text_signature = "($self, vdi_uuid, on_boot)")]
    fn begin_epoch(&self, py: Python<'_>, vdi_uuid: &str, on_boot: &str) -> PyResult<()> {
        let on_boot = OnBoot::of(on_boot);
        self.run_on(py, "VDI.epoch_begin", vdi_uuid, |sr, vdi| {
            sr.begin_epoch(vdi, on_boot)
        })
    }

    /// `vdi_revert`: returns the disk's size in bytes, which is the snapshot's.
    #[pyo3(text_signature = "($self, vdi_uuid, snapshot_uuid)")]
    fn revert_vdi(&self, py: Python<'_>, vdi_uuid: &str, snapshot_uuid: &str) -> PyResult<u64> {
        let snapshot = convert::uuid("VDI", snapshot_uuid)?;
        self.run_on(py, "VDI.revert", vdi_uuid, |sr, vdi| {
            sr.revert_vdi(vdi, &snapshot)
        })
    }

    /// `vdi_resize`: returns the size in bytes, which is never less than `size`.
    #[pyo3(text_signature = "($self, vdi_uuid, size)")]
    fn resize_vdi(&self, py: Python<'_>, vdi_uuid: &str, size: RequestedSize) -> PyResult<u64> {
        self.run_on(py, "VDI.resize", vdi_uuid, |sr, vdi| {
            sr.resize_vdi(vdi, size.0)
        })
    }

    /// `vdi_update`: records XAPI's fields of the VDIs. `disks` are the UUIDs of the disks that they refer to,
    /// by reference.
    #[pyo3(text_signature = "($self, records, disks)")]
    fn update_vdis(
        &self,
        py: Python<'_>,
        records: HashMap<String, &PyDict>,
        disks: HashMap<String, String>,
    ) -> PyResult<()> {
        let vdis = attached("VDI.update", || convert::xapi_vdis_beside(records, &disks))?;
        self.run(py, "VDI.update", |sr| sr.update_vdis(&vdis))
    }

    /// `vdi_introduce`: returns the attributes of a VDI that the SR has.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn introduce_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<PyObject> {
        let vdi = self.run_on(py, "VDI.introduce", vdi_uuid, |sr, vdi| {
            sr.introduce_vdi(vdi)
        })?;
        convert::attributes(py, &vdi, self.sr_type())
    }

    /// Connects a VDI to this host. Returns the path of its block device, the same one at each call.
    #[pyo3(text_signature = "($self, vdi_uuid, writable)")]
    fn activate_vdi(&self, py: Python<'_>, vdi_uuid: &str, writable: bool) -> PyResult<String> {
        let device = self.run_on(py, "VDI.activate", vdi_uuid, |sr, vdi| {
            sr.activate_vdi(vdi, writable)
        })?;
        Ok(device.display().to_string())
    }

    /// Raises `Error` if [`Sr::attach_ha_vdi`] cannot attach a disk.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn require_ha_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        self.run_on(py, "VDI.generate_config", vdi_uuid, |sr, vdi| {
            sr.require_ha_vdi(vdi)
        })
    }

    /// Connects a disk of high availability to this host, beside all others and without XAPI. Returns the path of
    /// its block device, the same one at each call.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn attach_ha_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<String> {
        let device = self.run_on(py, "VDI.attach_from_config", vdi_uuid, |sr, vdi| {
            sr.attach_ha_vdi(vdi)
        })?;
        Ok(device.display().to_string())
    }

    /// Disconnects a VDI from this host.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn deactivate_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        self.run_on(py, "VDI.deactivate", vdi_uuid, |sr, vdi| {
            sr.deactivate_vdi(vdi)
        })
    }

    /// `vdi_enable_cbt` and `vdi_disable_cbt`: switches the tracking of a disk's changes.
    #[pyo3(text_signature = "($self, vdi_uuid, tracked)")]
    fn track_changes(&self, py: Python<'_>, vdi_uuid: &str, tracked: bool) -> PyResult<()> {
        self.run_on(py, "VDI.configure_blocktracking", vdi_uuid, |sr, vdi| {
            sr.track_changes(vdi, tracked)
        })
    }

    /// `vdi_data_destroy`: only the changes of the snapshot can be listed from now on.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn destroy_data(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        self.run_on(py, "VDI.data_destroy", vdi_uuid, |sr, vdi| {
            sr.destroy_data(vdi)
        })
    }

    /// `vdi_list_changed_blocks`: returns the bitmap of the blocks of 64 KiB that differ between two VDIs.
    #[pyo3(text_signature = "($self, from_uuid, to_uuid)")]
    fn changed_blocks<'p>(
        &self,
        py: Python<'p>,
        from_uuid: &str,
        to_uuid: &str,
    ) -> PyResult<&'p PyBytes> {
        let to = convert::uuid("VDI", to_uuid)?;
        let bitmap = self.run_on(py, "VDI.list_changed_blocks", from_uuid, |sr, from| {
            sr.changed_blocks(from, &to)
        })?;
        Ok(PyBytes::new(py, &bitmap))
    }

    /// Releases the claim on a VDI, of any host. Returns that host's UUID, or None.
    #[pyo3(text_signature = "($self, vdi_uuid, force)")]
    fn release_vdi(&self, py: Python<'_>, vdi_uuid: &str, force: bool) -> PyResult<Option<String>> {
        self.run_on(py, "VDI.release", vdi_uuid, |sr, vdi| {
            sr.release_vdi(vdi, force)
        })
    }

    /// Removes what a killed command of this host left of a VDI. Returns whether this host uses the VDI.
    /// The caller holds SM's lock of the VDI, and has made sure that no tapdisk serves it: a paused one
    /// has its device closed.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn reconcile_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<bool> {
        self.run_on(py, "VDI.reconcile", vdi_uuid, |sr, vdi| {
            sr.reconcile_vdi(vdi)
        })
    }

    /// Finishes or undoes an operation on a VDI that a dead process left unfinished, and resumes the disk.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn recover_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        self.run_on(py, "VDI.recover", vdi_uuid, |sr, vdi| sr.recover_vdi(vdi))
    }

    /// Removes the record of a volume's regions and key: the next activation records what it finds.
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn accept_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        self.run_on(py, "VDI.accept", vdi_uuid, |sr, vdi| sr.accept_vdi(vdi))
    }

    /// Records that a host is dead, and puts its kernel's clients on the cluster's blocklist. Returns
    /// their addresses.
    #[pyo3(text_signature = "($self, host_uuid, reason)")]
    fn declare_dead(&self, py: Python<'_>, host_uuid: &str, reason: &str) -> PyResult<Vec<String>> {
        self.run(py, "SR.declare_dead", |sr| {
            sr.declare_dead(host_uuid, reason)
        })
    }

    /// Puts every client of those clients' IP addresses on the cluster's blocklist for 24 h, also clients
    /// that the host starts after its next boot.
    #[pyo3(text_signature = "($self, addresses)")]
    fn blocklist_hosts(&self, py: Python<'_>, addresses: Vec<String>) -> PyResult<Vec<String>> {
        self.run(py, "SR.blocklist_hosts", |sr| {
            sr.blocklist_hosts(&addresses)
        })
    }

    /// Whether the calls so far have left space to free: the caller then starts `smblock reclaim` in
    /// the background.
    #[getter]
    fn needs_worker(&self) -> bool {
        self.engine.needs_worker()
    }

    /// Frees all space that can be freed now. Calls `report` with a state ("progress", "done", "failed",
    /// "waits"), an image's name, a text, and two numbers: how much is done, of how much. With "progress", the
    /// text is their unit: "objects" or "bytes". Returns how many images failed.
    #[pyo3(text_signature = "($self, report)")]
    fn reclaim(&self, py: Python<'_>, report: PyObject) -> PyResult<usize> {
        self.run(py, "SR.reclaim", |sr| {
            sr.reclaim(&mut |step| {
                let (state, text, (done, total)) = describe(&step.state);
                let arguments = (state, step.object, text, done, total);
                let called = Python::with_gil(|py| report.call1(py, arguments));
                if let Err(e) = called {
                    log::warn!(
                        "image {}: the callback for state {state} failed: {e}",
                        step.object
                    );
                }
            })
        })
    }

    /// What is wrong with the SR, as seen from this host. `facts`: what XAPI and SM have about it, as JSON.
    #[pyo3(text_signature = "($self, sm_datapaths, others, facts)")]
    fn doctor(
        &self,
        py: Python<'_>,
        sm_datapaths: Vec<String>,
        others: Vec<Pairs>,
        facts: &str,
    ) -> PyResult<Vec<Finding>> {
        let facts = findings::facts(facts)?;
        let found = self.run(py, "SR.doctor", |sr| {
            Ok(sr.doctor(&sm_datapaths, &others, &facts))
        })?;
        Ok(findings::findings(found))
    }

    /// The SR on one screen, as JSON.
    #[pyo3(text_signature = "($self)")]
    fn overview(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, "SR.overview", |sr| sr.overview())
            .map(|overview| overview.json())
    }

    /// Where each VDI of the SR is, as JSON.
    #[pyo3(text_signature = "($self)")]
    fn places(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, "SR.places", |sr| sr.places())
            .map(|places| VdiPlace::json(&places))
    }

    /// Takes over the disks of another driver, or gives them back. `facts`: what XAPI has about the SR, as JSON;
    /// `records`: XAPI's records of its VDIs, by reference. Without `act` nothing is changed. Returns what was
    /// done, or would be, as JSON.
    #[pyo3(text_signature = "($self, facts, records, undo, act)")]
    fn adopt(
        &self,
        py: Python<'_>,
        facts: &str,
        records: HashMap<String, &PyDict>,
        undo: bool,
        act: bool,
    ) -> PyResult<String> {
        let request = AdoptionRequest {
            facts: findings::adoption_facts(facts)?,
            known: attached("SR.adopt", || convert::xapi_vdis(records))?,
            undo,
            act,
        };
        self.run(py, "SR.adopt", |sr| sr.adopt(&request))
            .map(|adoption| adoption.json())
    }

    /// Repairs what the next scan and the next plug repair.
    #[pyo3(text_signature = "($self)")]
    fn repair(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, "SR.repair", |sr| sr.repair())
    }

    /// Returns the work of `reclaim`, also what waits.
    #[pyo3(text_signature = "($self)")]
    fn pending(&self, py: Python<'_>) -> PyResult<Vec<Pending>> {
        let pending = self.run(py, "SR.pending", |sr| sr.pending())?;
        Ok(pending.into_iter().map(Pending::from).collect())
    }
}

fn name<'a>(label: &'a str, description: &'a str) -> SrName<'a> {
    SrName { label, description }
}
