//! The server with its clients: libnbd's and qemu's programs, and bytes that no such program sends.
#![allow(clippy::unwrap_used, reason = "a test")]

mod bytes;
mod clients;
mod faults;
mod lab;
mod reuse;
mod tls;
