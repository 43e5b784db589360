//! Oxide Crucible volumes on this host.
//!
//! A volume is one region kept by three storage servers (*downstairs*). The host that uses it runs
//! one `crucible-nbd-server`, whose *upstairs* is the region's only writer and which offers it as
//! an NBD export on a loopback address. This crate knows
//!
//! - which volumes there are: [`declaration`] (a file), [`provisioner`] (the operator's program);
//! - what the storage servers and the upstairs say about themselves: [`target`], [`control`];
//! - how a server is started, watched and certainly stopped on this host: [`port`], [`server`],
//!   [`route`].
//!
//! It does not know who may start one: **a start takes the volume away from whoever uses it**, even
//! where the start itself then fails. The caller makes sure first that nobody does, and never
//! gives the same generation twice.
//!
//! Sizes are bytes. Every call that waits takes a deadline. No error and no line of a log contains
//! a volume's key.
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
