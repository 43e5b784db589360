//! What the doctor finds, and its report.

use std::path::Path;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::wrap_pyfunction;
use sr::doctor::PoolFacts;
use sr::finding::{self, Section};

use crate::panic::attached;

/// One thing that the doctor has found.
#[pyclass(module = "smblock._core")]
#[derive(Clone)]
pub struct Finding(pub finding::Finding);

#[pymethods]
impl Finding {
    /// The id in docs/user/findings.md.
    #[getter]
    fn id(&self) -> &'static str {
        self.0.kind.id
    }

    /// "ok", "not run", "note", "warning" or "FAILURE".
    #[getter]
    fn severity(&self) -> &'static str {
        self.0.severity.name()
    }

    /// What it is about.
    #[getter]
    fn object(&self) -> &str {
        &self.0.object
    }

    /// What was found.
    #[getter]
    fn found(&self) -> &str {
        &self.0.found
    }

    /// How to fix it.
    #[getter]
    fn fix(&self) -> &str {
        &self.0.fix
    }

    /// What a repair may do about it without a risk, and to which objects.
    #[getter]
    fn remedy(&self) -> Option<(&'static str, String, String)> {
        let remedy = self.0.remedy.as_ref()?;
        let (what, vdi, object) = match remedy {
            finding::Remedy::RemoveKey { vdi, key } => ("remove_key", vdi, key),
            finding::Remedy::SettleHost { vdi, host } => ("settle_host", vdi, host),
            finding::Remedy::RemoveLink { vdi, path } => ("remove_link", vdi, path),
        };
        Some((what, vdi.to_string(), object.clone()))
    }

    /// Since when, in seconds since 1970, or None.
    #[getter]
    fn since(&self) -> Option<u64> {
        self.0.since
    }
}

/// What was found as a report.
#[pyclass(module = "smblock._core")]
pub struct DoctorReport {
    /// The report.
    #[pyo3(get)]
    text: String,
    /// The exit status: 0 to 2.
    #[pyo3(get)]
    status: u8,
}

/// The findings as Python has them.
pub fn findings(found: Vec<finding::Finding>) -> Vec<Finding> {
    found.into_iter().map(Finding).collect()
}

/// What is wrong with this host's configuration. `sr_types`: those that it is to serve.
#[pyfunction]
#[pyo3(text_signature = "(sr_types)")]
fn host_findings(sr_types: Vec<String>) -> PyResult<Vec<Finding>> {
    attached("host_findings", || {
        let sr_types: Vec<_> = sr_types.iter().map(String::as_str).collect();
        Ok(findings(sr::doctor::host::findings(
            Path::new("/"),
            &sr_types,
        )))
    })
}

/// What is wrong with the versions of smblock in the pool. `facts`: see `sr::doctor::PoolFacts`.
#[pyfunction]
#[pyo3(text_signature = "(facts)")]
fn pool_findings(facts: &str) -> PyResult<Vec<Finding>> {
    attached("pool_findings", || {
        let facts = PoolFacts::parse(facts);
        let facts = facts.map_err(|e| PyValueError::new_err(format!("the pool's facts: {e}")))?;
        Ok(findings(facts.findings()))
    })
}

/// The finding that an SR cannot be looked at, for that reason.
#[pyfunction]
#[pyo3(text_signature = "(sr_uuid, reason)")]
fn unreadable_sr(sr_uuid: &str, reason: &str) -> Finding {
    Finding(finding::unreadable(sr_uuid, reason))
}

/// Whether two findings are of one kind and about one object.
#[pyfunction]
#[pyo3(text_signature = "(one, other)")]
fn is_same_finding(one: &Finding, other: &Finding) -> bool {
    one.0.is_same(&other.0)
}

/// The report on sections of findings, each with its title.
#[pyfunction]
#[pyo3(text_signature = "(sections, as_json, all)")]
fn doctor_report(
    sections: Vec<(String, Vec<Finding>)>,
    as_json: bool,
    all: bool,
) -> PyResult<DoctorReport> {
    attached("doctor_report", || {
        let sections = sections.into_iter().map(|(title, found)| Section {
            title,
            findings: found.into_iter().map(|finding| finding.0).collect(),
        });
        let report = finding::Report(sections.collect());
        Ok(DoctorReport {
            status: report.status(),
            text: match as_json {
                true => report.json(),
                false => report.text(all),
            },
        })
    })
}

/// Adds what is here to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_class::<Finding>()?;
    module.add_class::<DoctorReport>()?;
    module.add_function(wrap_pyfunction!(host_findings, module)?)?;
    module.add_function(wrap_pyfunction!(pool_findings, module)?)?;
    module.add_function(wrap_pyfunction!(unreadable_sr, module)?)?;
    module.add_function(wrap_pyfunction!(is_same_finding, module)?)?;
    module.add_function(wrap_pyfunction!(doctor_report, module)?)
}
