//! What an SR returns, in SM's words.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use sr::device_config::Datapath;
use sr_ceph::sr::reclaim::{Kind, Pending, Report};
use sr_ceph::usage::PoolUsage;

/// What a VDI's `sm_config` must hold: without `backend-kind`, xapi would have a disk of type `phy`
/// served by tapdisk's backend, which never connects.
pub fn sm_config(datapath: Datapath) -> HashMap<&'static str, &'static str> {
    match datapath {
        Datapath::Aio => HashMap::new(),
        Datapath::Phy => HashMap::from([("backend-kind", "vbd")]),
    }
}

/// The state, its text, and how much is done, of how much. See [`Sr::reclaim`](crate::sr::Sr).
pub(super) fn describe(
    pending: &Pending,
    report: &Report<'_>,
) -> (&'static str, String, (u64, u64)) {
    let (state, text) = match report {
        Report::Progress(done, total) => {
            let unit = match pending.kind {
                Kind::Hidden { .. } => "bytes",
                _ => "objects",
            };
            return ("progress", unit.to_owned(), (*done, *total));
        }
        Report::Done => ("done", pending.kind.done().to_owned()),
        Report::Failed(error) => ("failed", error.to_string()),
        Report::Waits => {
            let holds_up = pending.holds_up.as_ref().map(ToString::to_string);
            ("waits", holds_up.unwrap_or_default())
        }
    };
    (state, text, (0, 0))
}

/// What SM's `SR` objects call these things. What is not known keeps XAPI's last value.
pub(super) fn sr_attributes(
    py: Python<'_>,
    usage: &PoolUsage,
    allocated: u64,
) -> PyResult<PyObject> {
    let attributes = PyDict::new(py);
    attributes.set_item("virtual_allocation", allocated)?;
    if let Some(total) = usage.total() {
        attributes.set_item("physical_size", total)?;
        attributes.set_item("physical_utilisation", usage.stored)?;
    }
    Ok(attributes.into())
}
