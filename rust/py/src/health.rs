//! The health of SRs of every type: alarms in XAPI, and metrics.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::wrap_pyfunction;
use sr::alarm::body::body;
use sr::alarm::{CheckFacts, Report};
use sr::engine::Health;
use sr::metrics::{page, Sample};

use crate::convert::not_facts;
use crate::panic::attached;
use crate::sr::Sr;

/// `check_sr`, which SM calls every ten minutes on each host: raises and clears alarms. `facts`: what XAPI has
/// about the pool and the SR, as JSON.
#[pyfunction]
#[pyo3(text_signature = "(sr, facts)")]
fn update_alarms(py: Python<'_>, sr: PyRef<'_, Sr>, facts: &str) -> PyResult<()> {
    let facts = CheckFacts::parse(facts).map_err(not_facts)?;
    sr.run(py, "SR.check", |sr| sr.check(facts))
}

/// The state of the SR in numbers, with the findings of the check, as JSON. An SR that cannot be read is a
/// finding.
#[pyfunction]
#[pyo3(text_signature = "(sr)")]
fn health_of(py: Python<'_>, sr: PyRef<'_, Sr>) -> PyResult<String> {
    sr.run(py, "SR.health", |sr| Ok(sr.look().health().json()))
}

/// Raises an alarm if only one host of the pool can use the SR. `facts`: as in `update_alarms`.
#[pyfunction]
#[pyo3(text_signature = "(sr, facts)")]
fn alarm_unless_shared(py: Python<'_>, sr: PyRef<'_, Sr>, facts: &str) -> PyResult<()> {
    let facts = CheckFacts::parse(facts).map_err(not_facts)?;
    let uuid = sr.uuid();
    sr.run(py, "SR.warn_unless_shared", |sr| {
        sr.warn_unless_shared(uuid, &facts)
    })
}

/// Raises an alarm that the server of a volume has ended on this host by itself.
#[pyfunction]
#[pyo3(text_signature = "(sr, vdi_uuid, name, host_uuid, how)")]
fn alarm_ended_server(
    py: Python<'_>,
    sr: PyRef<'_, Sr>,
    vdi_uuid: &str,
    name: &str,
    host_uuid: &str,
    how: &str,
) -> PyResult<()> {
    let uuid = sr.uuid();
    sr.run_on(py, "VDI.report_ended_server", vdi_uuid, |sr, vdi| {
        let found = sr_crucible::ended_server(vdi, name, host_uuid, how);
        sr.alarm(&Report::event(uuid, vec![found]))
    })
}

/// The body of a message of XAPI with the name ALARM. `rows`: the names and values of further elements.
#[pyfunction]
#[pyo3(text_signature = "(name, value, trigger, rows)")]
fn alarm_body(name: &str, value: &str, trigger: &str, rows: Vec<(String, String)>) -> String {
    let rows: Vec<_> = rows.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    body(name, value, trigger, &rows)
}

/// The state of SRs in the text format of Prometheus. Each SR is its UUID, type, name, what `health_of` has
/// returned, and how many seconds that took. An empty text instead of it: the SR could not be read.
#[pyfunction]
#[pyo3(text_signature = "(host_name, srs)")]
fn metrics_page(
    host_name: &str,
    srs: Vec<(String, String, String, String, f64)>,
) -> PyResult<String> {
    attached("metrics_page", || {
        let samples = srs.into_iter().map(|(sr, sr_type, name, health, seconds)| {
            let health = match health.is_empty() {
                true => Ok(Health {
                    sr_type,
                    ..Health::default()
                }),
                false => Health::parse(&health),
            };
            let health = health.map_err(|e| PyValueError::new_err(format!("the health: {e}")))?;
            Ok(Sample {
                sr,
                health,
                name,
                seconds,
            })
        });
        let samples = samples.collect::<PyResult<Vec<_>>>()?;
        Ok(page(host_name, env!("CARGO_PKG_VERSION"), &samples))
    })
}

/// Adds the functions to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(update_alarms, module)?)?;
    module.add_function(wrap_pyfunction!(health_of, module)?)?;
    module.add_function(wrap_pyfunction!(alarm_unless_shared, module)?)?;
    module.add_function(wrap_pyfunction!(alarm_ended_server, module)?)?;
    module.add_function(wrap_pyfunction!(alarm_body, module)?)?;
    module.add_function(wrap_pyfunction!(metrics_page, module)?)
}
