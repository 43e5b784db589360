//! SRs of type cephrbd: an SR and its VDIs in a Ceph pool.
//!
//! This crate contains no Python, no XenAPI and no path of sysfs. It uses Ceph through [`pool::Pool`] and the
//! host through [`host::Host`].
#![forbid(unsafe_code)]

mod adoption;
mod alerts;
pub mod allocation;
pub mod bitmap;
mod blocklist;
pub mod caps;
pub mod catalogue;
mod cbt;
pub mod ceph;
pub mod chain;
pub mod check;
pub mod device_config;
mod devices;
pub mod doctor;
pub mod dom0;
pub mod engine;
pub mod error;
#[cfg(feature = "sim")]
pub mod faults;
mod fence;
mod ha;
mod hold;
pub mod host;
mod image;
pub mod image_features;
pub mod image_format;
mod journal;
mod lease;
#[cfg(feature = "sim")]
pub mod memory;
pub mod messenger;
mod overview;
pub mod pool;
pub mod record;
mod recovery;
mod room;
pub mod size;
pub mod sr;
pub mod usage;
pub mod vdi;

pub use error::{CbtRefusal, Error, GrowthRefusal, HaRefusal, ImageError, Result, TemplateRefusal};
pub use hold::Hold;

use std::cell::Cell;

use uuid::Uuid;

use alerts::Alerts;
use catalogue::Catalogue;
use devices::Devices;
use fence::Fence;
use host::Host;
use image::Images;
use image_format::ImageFormat;
use journal::Journal;
use pool::Pool;
use vdi::claim::Claims;
use vdi::readers::Readers;

/// One SR in one pool, as one process on one host sees it. [`sr`] and [`vdi`] have its operations. The fields
/// have what the operations share. Each field is used without the others, and none of them uses an operation.
pub struct CephSr<'a> {
    pool: &'a dyn Pool,
    host: &'a dyn Host,
    catalogue: Catalogue<'a>,
    sr: Uuid,
    images: Images<'a>,
    devices: Devices<'a>,
    alerts: Alerts<'a>,
    fence: Fence<'a>,
    claims: Claims<'a>,
    readers: Readers<'a>,
    needs_worker: Cell<bool>,
    has_prepared: Cell<bool>,
}

impl<'a> CephSr<'a> {
    /// The SR of that UUID. It need not exist yet. New images get that format; features alone: the default
    /// layout.
    pub fn new(
        pool: &'a dyn Pool,
        host: &'a dyn Host,
        sr: Uuid,
        format: impl Into<ImageFormat>,
    ) -> Self {
        let catalogue = Catalogue::new(pool, sr);
        let images = Images::new(pool, sr, format.into());
        let devices = Devices::new(pool, host, images, sr);
        let alerts = Alerts {
            catalogue,
            pool,
            host,
            images,
            devices,
            sr,
        };
        let fence = Fence {
            catalogue,
            pool,
            host,
            alerts,
        };
        let claims = Claims {
            catalogue,
            host,
            devices,
            fence,
        };
        let readers = Readers {
            catalogue,
            pool,
            host,
        };
        CephSr {
            pool,
            host,
            catalogue,
            sr,
            images,
            devices,
            alerts,
            fence,
            claims,
            readers,
            needs_worker: Cell::new(false),
            has_prepared: Cell::new(false),
        }
    }

    /// The journal, with the recovery of other processes' operations.
    pub(crate) fn journal(&self) -> Journal<'_> {
        Journal {
            catalogue: self.catalogue,
            pool: self.pool,
            host: self.host,
            recovery: self,
        }
    }
}
