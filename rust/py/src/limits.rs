//! Limits of disks, of SRs of every type.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::wrap_pyfunction;
use sr::limits::limit;

use crate::sr::Sr;

type OtherConfig = BTreeMap<String, String>;

/// Returns the limits of a VDI as JSON: "iops", "mbps". Raises an error if one cannot be used.
#[pyfunction]
#[pyo3(text_signature = "(sr, other_config)")]
fn limits_of(py: Python<'_>, sr: PyRef<'_, Sr>, other_config: OtherConfig) -> PyResult<String> {
    sr.run(py, "VDI.limits", |sr| {
        let limits = sr.default_limits().of_vdi(&other_config)?;
        Ok(limits.json())
    })
}

/// Sets the limits of a VDI that this host uses. `device` is its block device, `tapdisk` the pid of the process
/// that serves it, or None. Returns what was done as JSON. A limit that cannot be set is no error.
#[pyfunction]
#[pyo3(text_signature = "(sr, device, tapdisk, other_config)")]
fn limit_vdi(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    device: PathBuf,
    tapdisk: Option<u32>,
    other_config: OtherConfig,
) -> PyResult<String> {
    sr.run(py, "VDI.limit", |sr| {
        let done = limit(sr.default_limits(), &other_config, &device, tapdisk);
        Ok(done.json())
    })
}

/// Adds the functions to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(limits_of, module)?)?;
    module.add_function(wrap_pyfunction!(limit_vdi, module)?)
}
