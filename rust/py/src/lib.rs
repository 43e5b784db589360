//! `smblock._core`: the Python module of the core.
//!
//! This crate only converts. Every function that Python can call runs in one of the two functions of
//! [`panic`], `attached` and `detached`. They turn every error and panic into `smblock.Error`, an ordinary
//! exception with the name of an SM error, which SM's handlers catch.
//!
//! Importing the module opens nothing. The first use opens Ceph's libraries, the cluster and the log,
//! because xapi reads the `DRIVER_INFO` of each driver also on hosts that have none of them.

mod administration;
mod connection;
mod convert;
mod engines;
mod error;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod error_page;
mod exports;
mod failures;
mod findings;
mod health;
mod limits;
mod logging;
mod panic;
mod probe;
mod serve;
mod shapes;
mod sr;
mod sr_types;
mod text;
mod unknown_type;
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
    findings::add_to(module)?;
    sr_types::add_to(module)?;
    administration::add_to(module)?;
    health::add_to(module)?;
    serve::add_to(module)?;
    exports::add_to(module)?;
    limits::add_to(module)?;
    connection::close_at_exit(py, module)?;
    Ok(())
}
