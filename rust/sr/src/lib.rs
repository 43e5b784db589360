//! What SRs of every type share.
//!
//! - [`xapi`]: what XAPI's database and an SR exchange about VDIs.
//! - [`host`]: a failed call to this host, and another host's reply about a VDI.
//! - [`device_config`]: rules for values, and the datapath.
//! - [`engine`]: the operations of an SR and its VDIs, as a trait of all SR types.
//! - [`check`]: the lines of the administrator's pre-flight, and its report.
//! - [`finding`]: what is not as it should be, with ids. [`alarm`]: the findings that XAPI shows.
//! - [`limits`]: how many requests and bytes a second a disk may have.
//! - [`metrics`]: the state of SRs for Prometheus.
//! - `faults`, with the feature `sim`: fault injection, for the tests.
//!
//! This crate contains nothing of Ceph, Crucible or Python.
#![forbid(unsafe_code)]

pub mod alarm;
pub mod check;
pub mod device_config;
pub mod doctor;
pub mod engine;
#[cfg(feature = "sim")]
pub mod faults;
pub mod finding;
pub mod host;
pub mod limits;
pub mod metrics;
pub mod xapi;

/// What this build is for. `scripts/check_wheel.py` looks for these words in the driver's binary.
pub const PURPOSE: &str = if cfg!(feature = "sim") {
    "smblock with simulators, for tests only"
} else {
    "smblock for hosts, without simulators"
};
