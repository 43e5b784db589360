//! Tests of the engine, with XAPI, hosts and Crucible's storage in memory ([`sr_crucible::memory`]).
//! Each call that changes something can fail, lose its reply, or be the last one of its process.
#![allow(clippy::unwrap_used)]

mod claims;
mod crashes;
mod doctor;
mod health;
mod hosts;
mod keys;
mod leftovers;
mod regions;
mod release;
mod sizes;
mod support;
