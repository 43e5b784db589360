//! What the crate promises, kept on a real cluster.
//!
//! ```text
//! SMBLOCK_TEST_CEPH_CONF=…/ceph.conf SMBLOCK_TEST_CEPH_USER=xcp SMBLOCK_TEST_POOL=rbd \
//!     cargo test -p librbd
//! ```
//! The user needs `mon 'profile rbd', osd 'profile rbd pool=P', mgr 'profile rbd pool=P'` and no
//! more. The tests of a full pool make a pool and a user of their own; they need another user who
//! may do that, in `SMBLOCK_TEST_CEPH_ADMIN`. What cannot run says that it was skipped, and why.
#![allow(clippy::unwrap_used)]

mod arena;
mod clones;
mod connection;
mod deadlines;
mod defaults;
mod full_pool;
mod images;
mod lab;
mod locks;
mod omap;
mod snapshots;
mod trash;
