//! What the driver promises about an SR and its VDIs, on the in-memory stand-in for Ceph.

mod alerts;
mod catalogue;
mod fencing;
mod hosts;
mod leases;
mod locks;
mod readers;
mod release;
mod room;
mod sr;
mod unplug;
mod vdi;
