//! `serve_crucible`: the supervisor of a volume's server.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::wrap_pyfunction;

use crate::error::Failure;
use crate::panic::detached;

/// Runs the server of a runtime directory until it ends, and calls `log` with each line that it prints,
/// without the volume's key. Returns how it ended, or None if it was stopped on purpose. Requests in flight
/// have failed by then.
#[pyfunction]
#[pyo3(text_signature = "(directory, log)")]
fn serve_crucible(py: Python<'_>, directory: PathBuf, log: PyObject) -> PyResult<Option<String>> {
    detached(py, "serve", move || -> Result<_, Failure> {
        let mut forward = |line: &str| {
            if let Err(e) = Python::with_gil(|py| log.call1(py, (line,))) {
                ::log::warn!("cannot forward the server's output to SMlog: {line} ({e})");
            }
        };
        let ended = sr_crucible::supervisor::serve(&directory, &mut forward)?;
        Ok((!ended.asked).then(|| ended.to_string()))
    })
}

/// Adds the function to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(serve_crucible, module)?)
}
