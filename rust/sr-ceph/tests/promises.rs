//! What the driver promises about an SR and its VDIs, on the in-memory stand-in for Ceph.
#![allow(clippy::unwrap_used)]

#[path = "promises/alerts.rs"]
mod alerts;
#[path = "promises/catalogue.rs"]
mod catalogue;
#[path = "promises/fencing.rs"]
mod fencing;
#[path = "promises/hosts.rs"]
mod hosts;
#[path = "promises/leases.rs"]
mod leases;
#[path = "promises/locks.rs"]
mod locks;
#[path = "promises/readers.rs"]
mod readers;
#[path = "promises/release.rs"]
mod release;
#[path = "promises/room.rs"]
mod room;
#[path = "promises/sr.rs"]
mod sr;
mod support;
#[path = "promises/unplug.rs"]
mod unplug;
#[path = "promises/vdi.rs"]
mod vdi;
