//! Tests of the engine on the model in memory ([`sr_ceph::memory`]): no cluster, no kernel.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod adoption;
mod by_hand;
mod copies;
mod crashes;
mod device_config;
mod doctor;
mod fan_out;
mod gate;
mod health;
mod history;
mod model;
mod overview;
mod promises;
mod reclaim;
mod reset;
mod support;
mod together;
mod usage;
