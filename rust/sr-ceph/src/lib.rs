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
pub mod chain;
pub mod check;
pub mod cluster;
pub mod device_config;
mod devices;
pub mod dom0;
pub mod error;
pub mod faults;
mod fence;
mod hold;
pub mod host;
mod image;
pub mod image_features;
mod journal;
pub mod memory;
pub mod messenger;
pub mod record;
mod recovery;
mod room;
pub mod size;
pub mod sr;
pub mod usage;
pub mod vdi;

pub use error::{Error, Result};
pub use hold::Hold;

use std::cell::Cell;

use uuid::Uuid;

use catalogue::Catalogue;
use cluster::Cluster;
use devices::Devices;
use host::Host;
use image::Images;
use image_features::ImageFeatures;
use journal::Journal;

/// One SR in one pool, as one process on one host sees it. What can be done with it is in
/// [`sr`] and [`vdi`].
pub struct Repository<'a> {
    cluster: &'a dyn Cluster,
    host: &'a dyn Host,
    catalogue: Catalogue<'a>,
    sr: Uuid,
    images: Images<'a>,
    devices: Devices<'a>,
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
        let images = Images::new(cluster, sr, image_features);
        Repository {
            cluster,
            host,
            catalogue: Catalogue::new(cluster, sr),
            sr,
            images,
            devices: Devices::new(cluster, host, images, sr),
            needs_worker: Cell::new(false),
        }
    }

    /// The journal, with what ends the operations of others.
    pub(crate) fn journal(&self) -> Journal<'_> {
        Journal {
            catalogue: self.catalogue,
            cluster: self.cluster,
            host: self.host,
            recovery: self,
        }
    }
}
