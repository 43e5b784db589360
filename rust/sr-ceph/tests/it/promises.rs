//! The rules for SRs and VDIs, one test each.

mod alerts;
mod catalogue;
mod fencing;
mod ha;
mod hosts;
mod leases;
mod locks;
mod readers;
mod release;
mod room;
mod sr;
mod tracking;
mod unplug;
mod vdi;
mod versions;
