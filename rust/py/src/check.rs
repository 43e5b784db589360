//! The administrator's pre-flight.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::wrap_pyfunction;
use store::check::CheckLine;
use store::device_config::DeviceConfig;

use crate::error::Failure;
use crate::panic::detached;

/// Each part that an SR needs on this host as a line of text, and whether an SR would work.
#[pyfunction]
#[pyo3(text_signature = "(device_config, sm_datapaths)")]
fn check(
    py: Python<'_>,
    device_config: BTreeMap<String, String>,
    sm_datapaths: Vec<String>,
) -> PyResult<(Vec<String>, bool)> {
    detached(py, "check", || -> Result<_, Failure> {
        let config = DeviceConfig::parse(device_config)?;
        config.datapath().require(&sm_datapaths)?;
        let lines = store::check::check(&config);
        let healthy = !lines.iter().any(CheckLine::is_failure);
        Ok((lines.iter().map(ToString::to_string).collect(), healthy))
    })
}

/// Adds the function to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check, module)?)
}
