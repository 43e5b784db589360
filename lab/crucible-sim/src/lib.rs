//! A **simulator** of Crucible, Oxide's replicated block storage, for tests on one machine.
//!
//! Crucible's own programs are built from a workspace of hundreds of crates, which takes too long for
//! a test run.  These two have their command lines, their HTTP replies and, as measured on the real
//! ones, the behaviour that a storage driver depends on: which server is fenced and when that
//! fails, what a start waits for, which writes are lost with the server.  The NBD side uses the real
//! one's crate.  Simulated are the format of a region's files, and the protocol between the programs.
//!
//! * `crucible-downstairs` keeps one of a volume's three copies: [`downstairs`], [`region`].
//! * `crucible-nbd-server` makes a disk of three of them: [`upstairs`], [`nbd_server`]. It listens
//!   on `--address`, as builds for more than one volume on a host do;
//!   `crucible-nbd-server-upstream` is without that option and takes port 10809.
//!
//! It has no TLS, no snapshots and no live repair by extents: a copy that missed writes is copied whole.

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "where Crucible logs, too")]

pub mod downstairs;
pub mod http;
pub mod nbd_server;
pub mod region;
pub mod repair;
pub mod upstairs;
pub mod wire;
