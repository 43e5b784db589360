//! `smblock._core`: SRs as Python sees them.
//!
//! Only conversions live here. Every function that Python can call goes through one of the two doors
//! of [`panic`], so that whatever happens in Rust reaches SM as `smblock.Error`, an ordinary
//! exception with the name of an SM error, and never as something that SM's own handlers let pass.
//!
//! Importing the module opens nothing: Ceph's libraries, the cluster and the log are reached on first
//! use, because xapi asks each driver for its `DRIVER_INFO` on hosts where none of them exists.

mod connection;
mod convert;
mod engines;
mod error;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod error_page;
mod failures;
mod logging;
mod panic;
mod probe;
mod serve;
mod shapes;
mod sr;
mod sr_types;
mod text;
mod xapi;

use pyo3::prelude::*;

#[pymodule]
fn _core(py: Python<'_>, module: &PyModule) -> PyResult<()> {
    panic::keep_report_for_error();
    logging::install();
    module.setattr("__doc__", ::sr::PURPOSE)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("Error", error::class(py)?)?;
    module.add_class::<sr::Sr>()?;
    module.add_class::<shapes::Scan>()?;
    module.add_class::<shapes::Pending>()?;
    module.add_class::<shapes::Report>()?;
    sr_types::add_to(module)?;
    serve::add_to(module)?;
    connection::close_at_exit(py, module)?;
    Ok(())
}
