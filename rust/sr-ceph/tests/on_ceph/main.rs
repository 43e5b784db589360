//! Tests on a real Ceph cluster. What `it/crashes` and `it/model` test on the model in memory is here tested on
//! Ceph itself.
//!
//! ```text
//! SMBLOCK_TEST_CEPH_CONF=…/ceph.conf SMBLOCK_TEST_CEPH_USER=xcp SMBLOCK_TEST_POOL=rbd \
//!     cargo test -p sr-ceph --test on_ceph
//! ```
//! A second binary beside `it`, so that `tests/test_rust_on_ceph.py` runs these tests alone, on its cluster.
//! Without the variables each test prints that it is skipped. The user needs the caps that
//! docs/user/ceph-setup.md lists. The tests of `check` make users; they need the keyring of client.admin
//! beside ceph.conf. `-- --ignored` runs every crash point instead of a sample.
//!
//! Each process of the driver is a client of its own, and fails at a chosen call, as in memory. Hosts and
//! their kernels are simulated: no test here needs a device.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod by_hand;
mod check;
mod crashes;
mod fixture;
mod hosts;
mod inspection;
mod killed;
mod lab;
mod model;
mod paused;
mod pool;
mod round_trips;
mod tracking;
