//! `smblock._core.Sr`: one method for each command of SM, for every SR type. Functions that only the command `smblock`
//! calls are in `administration.rs`, those of the alarms in `health.rs`.

mod run;

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use sr::engine::{Capability, OnBoot, Pairs, SrName, Together, VdiPlace};

pub use self::run::Sr;
use crate::convert::RequestedSize;
use crate::error::Failure;
use crate::panic::{attached, detached};
use crate::shapes::{describe, Scan};
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
    /// less than `size`. `is_mirror`: it is for a migration between SRs.
    #[args(is_mirror = "false")]
    #[pyo3(text_signature = "($self, vdi_uuid, size, vdi, is_mirror=False)")]
    fn create_vdi(
        &self,
        py: Python<'_>,
        vdi_uuid: &str,
        size: RequestedSize,
        vdi: &PyAny,
        is_mirror: bool,
    ) -> PyResult<u64> {
        let xapi = attached("VDI.create", || convert::fields_of(vdi))?;
        self.run_on(py, "VDI.create", vdi_uuid, |sr, vdi| {
            if is_mirror {
                sr.sr_type().require(Capability::VdiMirrorIn)?;
            }
            sr.create_vdi(vdi, size.0, xapi)
        })
    }

    /// `vdi_delete`
    #[pyo3(text_signature = "($self, vdi_uuid)")]
    fn delete_vdi(&self, py: Python<'_>, vdi_uuid: &str) -> PyResult<()> {
        self.run_on(py, "VDI.delete", vdi_uuid, |sr, vdi| sr.delete_vdi(vdi))
    }

    /// `vdi_snapshot`: returns the new VDI's attributes. `siblings` are the disks that have snapshots of the same
    /// instant, if they are in use: those that `task` snapshots. The new VDI's UUID is in the attributes.
    #[args(task = "\"\"", siblings = "Vec::new()")]
    #[pyo3(text_signature = "($self, vdi_uuid, new_uuid, task=\"\", siblings=[])")]
    fn snapshot_vdi(
        &self,
        py: Python<'_>,
        vdi_uuid: &str,
        new_uuid: &str,
        task: &str,
        siblings: Vec<String>,
    ) -> PyResult<PyObject> {
        let new = convert::uuid("VDI", new_uuid)?;
        // XAPI's UUID of a disk in another SR can have any form.
        let siblings = siblings.iter().filter_map(|sibling| sibling.parse().ok());
        let together = Together {
            task: task.to_owned(),
            siblings: siblings.collect(),
        };
        let made = self.run_on(py, "VDI.snapshot", vdi_uuid, |sr, vdi| {
            sr.snapshot_vdi(vdi, &new, &together)
        })?;
        convert::attributes(py, &made, self.sr_type())
    }

    /// Whether a call has prepared snapshots: the caller then starts a process that calls `drop_prepared` when the
    /// task has ended.
    #[getter]
    fn has_prepared(&self) -> bool {
        self.engine.has_prepared()
    }

    /// Removes the snapshots that were prepared for tasks that have ended.
    #[pyo3(text_signature = "($self)")]
    fn drop_prepared(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, "SR.drop_prepared", |sr| sr.drop_prepared())
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

    /// Records that a host is dead, and puts its kernel's clients on the cluster's blocklist. Returns
    /// their addresses.
    #[pyo3(text_signature = "($self, host_uuid, reason)")]
    fn declare_dead(&self, py: Python<'_>, host_uuid: &str, reason: &str) -> PyResult<Vec<String>> {
        self.run(py, "SR.declare_dead", |sr| {
            sr.declare_dead(host_uuid, reason)
        })
    }

    /// Whether the calls so far have left space to free: the caller then starts `smblock reclaim` in
    /// the background.
    #[getter]
    fn needs_worker(&self) -> bool {
        self.engine.needs_worker()
    }

    /// Frees all space that can be freed now, and then finds out how much each VDI takes: with `background`
    /// only if the last figures are old. Calls `report` with a state ("progress", "done", "failed", "waits",
    /// "counting"), an image's name, a text, and two numbers: how much is done, of how much. With "progress"
    /// and "counting", the text is their unit: "objects" or "bytes". Returns how many images failed.
    #[args(background = "false")]
    #[pyo3(text_signature = "($self, report, background=False)")]
    fn reclaim(&self, py: Python<'_>, report: PyObject, background: bool) -> PyResult<usize> {
        self.run(py, "SR.reclaim", |sr| {
            sr.reclaim(background, &mut |step| {
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

    /// Where each VDI of the SR is, as JSON.
    #[pyo3(text_signature = "($self)")]
    fn places(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, "SR.places", |sr| sr.places())
            .map(|places| VdiPlace::json(&places))
    }
}

fn name<'a>(label: &'a str, description: &'a str) -> SrName<'a> {
    SrName { label, description }
}
