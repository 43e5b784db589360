//! What an administrator does to an SR by the command `smblock`, and SM does not. For SRs of every type.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::wrap_pyfunction;
use sr::doctor::Facts;
use sr::engine::{AdoptionFacts, AdoptionRequest, ImportRequest, Pairs};

use crate::convert::{self, not_facts, RequestedSize};
use crate::findings::{self, Finding};
use crate::panic::attached;
use crate::shapes::Pending;
use crate::sr::Sr;

/// The SR on one screen, as JSON.
#[pyfunction]
#[pyo3(text_signature = "(sr)")]
fn overview_of(py: Python<'_>, sr: PyRef<'_, Sr>) -> PyResult<String> {
    sr.run(py, "SR.overview", |sr| sr.overview())
        .map(|overview| overview.json())
}

/// Returns the work of `Sr.reclaim`, also what waits.
#[pyfunction]
#[pyo3(text_signature = "(sr)")]
fn pending_work(py: Python<'_>, sr: PyRef<'_, Sr>) -> PyResult<Vec<Pending>> {
    let pending = sr.run(py, "SR.pending", |sr| sr.pending())?;
    Ok(pending.into_iter().map(Pending::from).collect())
}

/// What is wrong with the SR, as seen from this host. `facts`: what XAPI and SM have about it, as JSON.
#[pyfunction]
#[pyo3(text_signature = "(sr, sm_datapaths, others, facts)")]
fn sr_findings(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    sm_datapaths: Vec<String>,
    others: Vec<Pairs>,
    facts: &str,
) -> PyResult<Vec<Finding>> {
    let facts = Facts::parse(facts).map_err(not_facts)?;
    let found = sr.run(py, "SR.doctor", |sr| {
        Ok(sr.doctor(&sm_datapaths, &others, &facts))
    })?;
    Ok(findings::findings(found))
}

/// Repairs what the next scan and the next plug repair.
#[pyfunction]
#[pyo3(text_signature = "(sr)")]
fn repair_sr(py: Python<'_>, sr: PyRef<'_, Sr>) -> PyResult<()> {
    sr.run(py, "SR.repair", |sr| sr.repair())
}

/// Takes over the disks of another driver, or gives them back. `facts`: what XAPI has about the SR, as JSON;
/// `records`: XAPI's records of its VDIs, by reference. Without `act` nothing is changed. Returns what was
/// done, or would be, as JSON.
#[pyfunction]
#[pyo3(text_signature = "(sr, facts, records, undo, act)")]
fn adopt_disks(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    facts: &str,
    records: HashMap<String, &PyDict>,
    undo: bool,
    act: bool,
) -> PyResult<String> {
    let request = AdoptionRequest {
        facts: AdoptionFacts::parse(facts).map_err(not_facts)?,
        known: attached("SR.adopt", || convert::xapi_vdis(records))?,
        undo,
        act,
    };
    sr.run(py, "SR.adopt", |sr| sr.adopt(&request))
        .map(|adoption| adoption.json())
}

/// Makes a disk of a snapshot of an image that does not belong to the SR. `size`: the least bytes, or None.
/// Returns the disk's size in bytes. XAPI gets the disk with the next scan.
#[pyfunction]
#[pyo3(text_signature = "(sr, vdi_uuid, source, size, name_label, name_description)")]
fn import_vdi(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    vdi_uuid: &str,
    source: String,
    size: Option<RequestedSize>,
    name_label: String,
    name_description: String,
) -> PyResult<u64> {
    let request = ImportRequest {
        source,
        size: size.map(|size| size.0),
        name_label,
        name_description,
    };
    sr.run_on(py, "VDI.import", vdi_uuid, |sr, vdi| {
        sr.import_vdi(vdi, &request)
    })
}

/// Where a VDI is, for programs outside XCP-ng, as JSON.
#[pyfunction]
#[pyo3(text_signature = "(sr, vdi_uuid)")]
fn locate_vdi(py: Python<'_>, sr: PyRef<'_, Sr>, vdi_uuid: &str) -> PyResult<String> {
    sr.run_on(py, "VDI.locate", vdi_uuid, |sr, vdi| sr.locate_vdi(vdi))
        .map(|location| location.json())
}

/// Returns the bytes that a VDI takes, which needs seconds for each TiB. Calls `report` as `Sr.reclaim` does, with
/// the state "counting".
#[pyfunction]
#[pyo3(text_signature = "(sr, vdi_uuid, report)")]
fn measure_vdi(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    vdi_uuid: &str,
    report: PyObject,
) -> PyResult<u64> {
    sr.run_on(py, "VDI.measure", vdi_uuid, |sr, vdi| {
        sr.measure_vdi(vdi, &mut |done, total| {
            let arguments = ("counting", vdi_uuid, "bytes", done, total);
            if let Err(e) = Python::with_gil(|py| report.call1(py, arguments)) {
                log::warn!("VDI {vdi}: the callback for its progress failed: {e}");
            }
        })
    })
}

/// Releases the claim on a VDI, of any host. Returns that host's UUID, or None.
#[pyfunction]
#[pyo3(text_signature = "(sr, vdi_uuid, force)")]
fn release_vdi(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    vdi_uuid: &str,
    force: bool,
) -> PyResult<Option<String>> {
    sr.run_on(py, "VDI.release", vdi_uuid, |sr, vdi| {
        sr.release_vdi(vdi, force)
    })
}

/// Removes the record of a volume's regions and key: the next activation records what it finds.
#[pyfunction]
#[pyo3(text_signature = "(sr, vdi_uuid)")]
fn accept_vdi(py: Python<'_>, sr: PyRef<'_, Sr>, vdi_uuid: &str) -> PyResult<()> {
    sr.run_on(py, "VDI.accept", vdi_uuid, |sr, vdi| sr.accept_vdi(vdi))
}

/// Puts every client of those clients' IP addresses on the cluster's blocklist for 24 h, also clients
/// that the host starts after its next boot.
#[pyfunction]
#[pyo3(text_signature = "(sr, addresses)")]
fn blocklist_hosts(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    addresses: Vec<String>,
) -> PyResult<Vec<String>> {
    sr.run(py, "SR.blocklist_hosts", |sr| {
        sr.blocklist_hosts(&addresses)
    })
}

/// Adds the functions to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(overview_of, module)?)?;
    module.add_function(wrap_pyfunction!(pending_work, module)?)?;
    module.add_function(wrap_pyfunction!(sr_findings, module)?)?;
    module.add_function(wrap_pyfunction!(repair_sr, module)?)?;
    module.add_function(wrap_pyfunction!(adopt_disks, module)?)?;
    module.add_function(wrap_pyfunction!(import_vdi, module)?)?;
    module.add_function(wrap_pyfunction!(locate_vdi, module)?)?;
    module.add_function(wrap_pyfunction!(measure_vdi, module)?)?;
    module.add_function(wrap_pyfunction!(release_vdi, module)?)?;
    module.add_function(wrap_pyfunction!(accept_vdi, module)?)?;
    module.add_function(wrap_pyfunction!(blocklist_hosts, module)?)
}
