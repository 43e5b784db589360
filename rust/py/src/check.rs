//! The administrator's pre-flight.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::wrap_pyfunction;
use sr::check::{CheckLine, CheckReport};
use sr_ceph::device_config::DeviceConfig;

use crate::connection::keep_reply;
use crate::error::Failure;
use crate::panic::detached;

/// A report on each part that an SR needs on this host, as text or as JSON, and whether an SR would
/// work. `others`: the device-configs of this host's other SRs.
#[pyfunction]
#[pyo3(text_signature = "(device_config, sm_datapaths, others, as_json)")]
fn check(
    py: Python<'_>,
    device_config: BTreeMap<String, String>,
    sm_datapaths: Vec<String>,
    others: Vec<BTreeMap<String, String>>,
    as_json: bool,
) -> PyResult<(String, bool)> {
    detached(py, "check", || -> Result<_, Failure> {
        let config = DeviceConfig::parse(device_config)?;
        config.datapath().require(&sm_datapaths)?;
        keep_reply();
        // One that cannot be read serves no SR.
        let others = others
            .into_iter()
            .filter_map(|other| DeviceConfig::parse(other).ok());
        let others: Vec<_> = others.collect();
        Ok(shown(sr_ceph::check::check(&config, &others), as_json))
    })
}

/// A report as text or as JSON, and whether an SR would work.
pub fn shown(lines: Vec<CheckLine>, as_json: bool) -> (String, bool) {
    let report = CheckReport::new(lines);
    let text = if as_json {
        report.json()
    } else {
        report.text()
    };
    (text, report.is_healthy())
}

/// Adds the function to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check, module)?)
}
