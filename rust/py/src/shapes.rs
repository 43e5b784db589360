//! The results of the methods of [`crate::sr::Sr`], with SM's names.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use sr::engine::{self, Capability, SrType, State, Unit, Usage};

use crate::convert;

/// The result of a scan.
#[pyclass(module = "smblock._core")]
pub struct Scan {
    /// The attributes of every VDI in the SR.
    #[pyo3(get)]
    vdis: Vec<PyObject>,
    /// Snapshot UUID to disk UUID, for snapshots whose disk XAPI does not have.
    #[pyo3(get)]
    disks_of_snapshots: HashMap<String, String>,
    /// The SR's attributes.
    #[pyo3(get)]
    sr: PyObject,
}

impl Scan {
    /// Converts the scan of an SR of that type.
    pub fn of(py: Python<'_>, scan: engine::Scan, sr_type: &SrType) -> PyResult<Self> {
        let vdis = scan.vdis.iter();
        let vdis = vdis.map(|vdi| convert::attributes(py, vdi, sr_type));
        let disks = scan.disks_of_snapshots.iter();
        let disks = disks.map(|(snapshot, disk)| (snapshot.to_string(), disk.to_string()));
        Ok(Scan {
            vdis: vdis.collect::<PyResult<_>>()?,
            disks_of_snapshots: disks.collect(),
            sr: sr_attributes(py, &scan.usage)?,
        })
    }
}

/// Work that frees space.
#[pyclass(module = "smblock._core")]
pub struct Pending {
    /// The image's name.
    #[pyo3(get)]
    image: String,
    /// The work.
    #[pyo3(get)]
    work: String,
    /// What must happen first, or None.
    #[pyo3(get)]
    waits_for: Option<String>,
}

impl From<engine::Pending> for Pending {
    fn from(pending: engine::Pending) -> Self {
        Pending {
            image: pending.object,
            work: pending.work,
            waits_for: pending.waits_for,
        }
    }
}

/// The result of a check of this host.
#[pyclass(module = "smblock._core")]
pub struct Report {
    /// The report.
    #[pyo3(get)]
    pub text: String,
    /// Whether an SR works on this host.
    #[pyo3(get)]
    pub healthy: bool,
}

/// Returns the arguments of the callback of [`crate::sr::Sr`]'s `reclaim`: state, text, done and total.
pub fn describe(state: &State) -> (&'static str, &str, (u64, u64)) {
    let (name, text) = match state {
        State::Progress { done, total, unit } => {
            return ("progress", unit.name(), (*done, *total));
        }
        State::Counting { done, total } => {
            return ("counting", Unit::Objects.name(), (*done, *total));
        }
        State::Done(result) => ("done", *result),
        State::Failed(error) => ("failed", error.as_str()),
        State::Waits(what) => ("waits", what.as_str()),
    };
    (name, text, (0, 0))
}

/// Returns the attributes of SM's `SR` object. An unknown value is left out, so that XAPI keeps its last one.
pub fn sr_attributes(py: Python<'_>, usage: &Usage) -> PyResult<PyObject> {
    let attributes = PyDict::new(py);
    attributes.set_item("virtual_allocation", usage.allocated)?;
    if let Some(total) = usage.total {
        attributes.set_item("physical_size", total)?;
        attributes.set_item("physical_utilisation", usage.used)?;
    }
    Ok(attributes.into())
}

/// Returns the capability of that name.
pub fn capability(name: &str) -> PyResult<Capability> {
    let mut all = Capability::ALL.into_iter();
    let found = all.find(|capability| capability.name() == name);
    found.ok_or_else(|| PyValueError::new_err(format!("there is no capability {name:?}")))
}
