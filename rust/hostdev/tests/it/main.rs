//! Block devices of a real kernel.
//!
//! The tests run as root. `krbd` and `reaching` need a kernel with `rbd` and a cluster: see [`krbd`]. `nbd`
//! needs a kernel with `nbd`: see [`nbd`]. A test without them prints that it was skipped.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod cluster;
mod krbd;
mod nbd;
mod nbd_server;
mod reaching;
