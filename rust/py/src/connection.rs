//! The process's connection to a Ceph cluster. Its output is kept out of xapi's reply. Python's `atexit`
//! closes it.

use pyo3::prelude::*;

/// Keeps the output of librados to stdout out of xapi's reply. Called without the GIL.
pub fn keep_reply() {
    let keep = |py: Python<'_>| py.import("smblock.reply")?.call_method0("keep").map(|_| ());
    if let Err(error) = Python::with_gil(keep) {
        log::warn!("cannot keep the output of libraries out of xapi's reply: {error}");
    }
}

#[pyfunction]
fn close_connection(py: Python<'_>) {
    py.allow_threads(sr_ceph::engine::close_connection);
}

/// Registers the closing of the connection with `atexit`.
pub fn close_at_exit(py: Python<'_>, module: &PyModule) -> PyResult<()> {
    let close = pyo3::wrap_pyfunction!(close_connection, module)?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}
