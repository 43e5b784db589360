//! What `crashes.rs` and `model.rs` prove on a model of Ceph, kept on a real one.
//!
//! ```text
//! SMBLOCK_TEST_CEPH_CONF=…/ceph.conf SMBLOCK_TEST_CEPH_USER=xcp SMBLOCK_TEST_POOL=rbd \
//!     cargo test -p sr-ceph --test on_ceph
//! ```
//! The user needs what docs/user/ceph-setup.md lists, and no more. Every process is a client of its own, and what
//! it dies in is chosen as in memory; hosts and their kernels are stand-ins, since nothing here is
//! about devices. `-- --ignored` goes through every crash point instead of a sample.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "on_ceph/by_hand.rs"]
mod by_hand;
#[path = "on_ceph/crashes.rs"]
mod crashes;
#[path = "on_ceph/fixture.rs"]
mod fixture;
#[path = "on_ceph/hosts.rs"]
mod hosts;
#[path = "on_ceph/inspection.rs"]
mod inspection;
#[path = "on_ceph/killed.rs"]
mod killed;
#[path = "on_ceph/lab.rs"]
mod lab;
#[path = "on_ceph/model.rs"]
mod model;
#[path = "on_ceph/pool.rs"]
mod pool;
