//! A **simulator** of Crucible, Oxide's replicated block storage, for tests on one machine.
//!
//! Crucible's own programs are built from a workspace of hundreds of crates that a test run cannot
//! wait for.  These two have their command lines, their HTTP answers and, as measured on the real
//! ones, their behaviour where a storage driver gets to feel it: who is fenced by whom and when that
//! fails, what a start waits for, which writes die with the server.  The NBD side is the real one's
//! crate.  What stands in: the format of a region's files, and the protocol between the parts.
//!
//! * `crucible-downstairs` keeps one of a volume's three copies: [`downstairs`], [`region`].
//! * `crucible-nbd-server` makes a disk of three of them: [`upstairs`], [`nbd_server`]. It listens
//!   where `--address` says, as builds for more than one volume on a host do;
//!   `crucible-nbd-server-upstream` is without that option and takes port 10809.
//!
//! Without TLS, snapshots, or live repair by extents: a copy that missed writes is made anew whole.

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "where Crucible logs, too")]

pub mod downstairs;
pub mod http;
pub mod nbd_server;
pub mod region;
pub mod repair;
pub mod upstairs;
pub mod wire;
