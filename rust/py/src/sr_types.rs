//! Functions that need no SR: the SR types, and the check whether one of them works on this host.

use pyo3::prelude::*;
use pyo3::wrap_pyfunction;
use sr::check::CheckReport;
use sr::engine::Pairs;
use uuid::Uuid;

use crate::engines;
use crate::error::Failure;
use crate::panic::{attached, detached};
use crate::shapes::Report;

/// Returns SM's names of the capabilities of an SR type.
#[pyfunction]
#[pyo3(text_signature = "(sr_type)")]
fn capabilities(sr_type: &str) -> PyResult<Vec<&'static str>> {
    attached("capabilities", || {
        let capabilities = engines::sr_type(sr_type)?.capabilities.iter();
        let sms = capabilities.filter(|capability| capability.is_sms());
        Ok(sms.map(|capability| capability.name()).collect())
    })
}

/// Returns the keys of the device-config of an SR type, each with its description.
#[pyfunction]
#[pyo3(text_signature = "(sr_type)")]
fn configuration(sr_type: &str) -> PyResult<Vec<[String; 2]>> {
    attached("configuration", || {
        let keys = engines::sr_type(sr_type)?.configuration.iter();
        Ok(keys.map(|key| [key.name.to_owned(), key.text()]).collect())
    })
}

/// Returns the SR type that a device-config is meant for, by its keys.
#[pyfunction]
#[pyo3(text_signature = "(device_config)")]
fn sr_type_of(device_config: Pairs) -> &'static str {
    engines::sr_type_of(&device_config).name
}

/// Checks each part that an SR needs on this host. Returns a report as text or as JSON. `others` are the
/// device-configs of this host's other SRs of the type.
#[pyfunction]
#[pyo3(text_signature = "(sr_type, device_config, sm_datapaths, others, as_json)")]
fn check(
    py: Python<'_>,
    sr_type: &str,
    device_config: Pairs,
    sm_datapaths: Vec<String>,
    others: Vec<Pairs>,
    as_json: bool,
) -> PyResult<Report> {
    let host = String::new();
    let engine = attached("check", || {
        engines::open(sr_type, Uuid::nil(), host, device_config, py.None())
    })?;
    detached(py, "check", || -> Result<_, Failure> {
        let report = CheckReport::new(engine.preflight(&sm_datapaths, &others)?);
        let text = match as_json {
            true => report.json(),
            false => report.text(),
        };
        Ok(Report {
            healthy: report.is_healthy(),
            text,
        })
    })
}

/// Adds the functions to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(capabilities, module)?)?;
    module.add_function(wrap_pyfunction!(configuration, module)?)?;
    module.add_function(wrap_pyfunction!(sr_type_of, module)?)?;
    module.add_function(wrap_pyfunction!(check, module)?)
}
