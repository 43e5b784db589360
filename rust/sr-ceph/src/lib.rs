//! SRs of type cephrbd: what an SR and a VDI are on a Ceph pool: catalogue, journal, claim, usage.
//!
//! Knows no Python, no XenAPI and no sysfs path. It sees Ceph through [`cluster::Cluster`] and the
//! host it runs on through [`host::Host`].
#![forbid(unsafe_code)]

mod alerts;
mod blocklist;
pub mod caps;
pub mod catalogue;
pub mod ceph;
pub mod check;
pub mod cluster;
pub mod device_config;
pub mod dom0;
pub mod engine;
pub mod error;
#[cfg(feature = "sim")]
pub mod faults;
mod fence;
pub mod host;
pub mod image_features;
mod journal;
#[cfg(feature = "sim")]
pub mod memory;
pub mod messenger;
pub mod record;
pub mod size;
pub mod sr;
pub mod usage;
pub mod vdi;

pub use error::{Error, Result};
pub use fence::Hold;

use std::cell::Cell;

use uuid::Uuid;

use cluster::Cluster;
use host::Host;
use image_features::ImageFeatures;

/// One SR in one pool, as one process on one host sees it. What can be done with it is in
/// [`sr`] and [`vdi`].
pub struct Repository<'a> {
    cluster: &'a dyn Cluster,
    host: &'a dyn Host,
    sr: Uuid,
    image_features: u64,
    needs_worker: Cell<bool>,
}

impl<'a> Repository<'a> {
    /// The SR of that UUID, which need not exist yet. New images get `image_features`.
    pub fn new(
        cluster: &'a dyn Cluster,
        host: &'a dyn Host,
        sr: Uuid,
        image_features: ImageFeatures,
    ) -> Self {
        Repository {
            cluster,
            host,
            sr,
            image_features: image_features.bits(),
            needs_worker: Cell::new(false),
        }
    }
}
