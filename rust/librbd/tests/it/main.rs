//! The crate on a real cluster.
//!
//! ```text
//! SMBLOCK_TEST_CEPH_CONF=…/ceph.conf SMBLOCK_TEST_CEPH_USER=xcp SMBLOCK_TEST_POOL=rbd \
//!     cargo test -p librbd
//! ```
//! The user needs only `mon 'profile rbd', osd 'profile rbd pool=P', mgr 'profile rbd pool=P'`. Some tests
//! create a pool and a user. They need a user that can do this, in `SMBLOCK_TEST_CEPH_ADMIN`. A test that
//! cannot run prints that it was skipped, and why.
#![allow(clippy::unwrap_used)]

mod calls;
mod clones;
mod connection;
mod deadlines;
mod defaults;
mod diffs;
mod exit;
mod fixture;
mod full_pool;
mod images;
mod locks;
mod omap;
mod own_pool;
mod snapshots;
mod trash;
