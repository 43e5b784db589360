//! `serve_crucible`, the body of the process that looks after a volume's server.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::wrap_pyfunction;

use crate::error::Failure;
use crate::panic::detached;

/// Runs the server of a run folder until it ends, and passes every line that it prints, without the
/// volume's key, to `log`. Returns how it ended, or None if it was stopped on purpose; requests that were
/// on their way to it have failed by then.
#[pyfunction]
#[pyo3(text_signature = "(folder, log)")]
fn serve_crucible(py: Python<'_>, folder: PathBuf, log: PyObject) -> PyResult<Option<String>> {
    detached(py, "serve", move || -> Result<_, Failure> {
        let mut say = |line: &str| {
            if let Err(e) = Python::with_gil(|py| log.call1(py, (line,))) {
                ::log::warn!("a line of a server is logged nowhere else: {line} ({e})");
            }
        };
        let ended = sr_crucible::runner::serve(&folder, &mut say)?;
        Ok((!ended.asked).then(|| ended.to_string()))
    })
}

/// Adds the function to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(serve_crucible, module)?)
}
