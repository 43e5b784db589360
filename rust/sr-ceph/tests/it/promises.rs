//! The rules for SRs and VDIs, one test each.

mod alerts;
mod catalogue;
mod fencing;
mod growth;
mod ha;
mod hosts;
mod leases;
mod locks;
mod readers;
mod release;
mod room;
mod sr;
mod templates;
mod tracking;
mod unplug;
mod utilisation;
mod vdi;
mod versions;
