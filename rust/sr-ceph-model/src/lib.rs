//! A model of an SR, for the tests of sr-ceph. It runs random sequences of everything that two hosts can do to an
//! SR, and compares the SR with what an administrator expects. The same model tests the engine in memory and on a
//! real Ceph cluster: a [`Bench`] is what differs between the two.
//!
//! A process can be killed at any change, or stop before any call and continue later. If a command does not report
//! how it ends, the model has several possible states of a VDI, until no operation is left.
#![allow(clippy::unwrap_used)] // a failed expectation ends the test

mod bench;
mod fates;
mod learning;
mod model;
mod process;
mod refusals;
mod states;
mod steps;
mod view;

pub use bench::{Bench, Effect, BLOCKS};
pub use model::{Model, Tally};
pub use states::Content;
pub use steps::{change, exactly, likely, Command, Fate, Step};

/// The number of hosts.
pub const HOSTS: usize = 2;
