//! What an administrator may rely on about Crucible volumes on a host.
#![allow(clippy::unwrap_used)]

mod fence;
mod host;
mod provisioner;
mod route;
mod server;
mod target;
