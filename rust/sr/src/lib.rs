//! What SRs of every type share.
//!
//! - [`xapi`]: what XAPI's database and an SR tell each other about VDIs.
//! - [`host`]: a failed call to this host, and another host's reply about a VDI.
//! - [`device_config`]: rules for values, and the datapath.
//! - [`check`]: the lines of the administrator's pre-flight, and its report.
//! - [`faults`]: faults on demand, for the tests.
//!
//! This crate has no notion of Ceph, of Crucible, or of Python.
#![forbid(unsafe_code)]

pub mod check;
pub mod device_config;
pub mod faults;
pub mod host;
pub mod xapi;
