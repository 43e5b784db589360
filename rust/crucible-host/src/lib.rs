//! Oxide Crucible volumes on this host.
//!
//! Three storage servers (*downstairs*) keep the three regions of a volume. The host that uses the volume
//! runs one `crucible-nbd-server`. Its *upstairs* is the only writer of the regions. The server offers the
//! volume as an NBD export on a loopback address. This crate
//!
//! - lists the volumes: [`declaration`] (a file), [`provisioner`] (the operator's program);
//! - reads the state of the storage servers and of the upstairs: [`target`], [`control`];
//! - starts, watches and stops servers on this host: [`port`], [`server`], [`route`].
//!
//! **A start takes the volume away from the host that uses it**, even if the start then fails. So the
//! caller first makes sure that no host uses the volume, and never gives the same generation twice.
//!
//! Sizes are bytes. Every call that waits takes a deadline. No error and no log line contains a volume's
//! key.
#![forbid(unsafe_code)]

pub mod control;
pub mod declaration;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
pub mod key;
pub mod port;
pub mod provisioner;
pub mod route;
pub mod server;
pub mod target;
mod volume;

pub use error::Error;
pub use secrecy::SecretString;
pub use volume::{check_distinct, KeySource, Volume};
