//! The disks of high availability: the statefile and the redo log.
//!
//! Every host has both of them mapped for writing, all the time, and SM attaches them without xapi: before xapi
//! starts at boot, and while no host of the pool has a master. Each host writes to blocks of its own, so neither a
//! claim nor the image's exclusive lock may stand between them:
//!
//! - Their image has the feature layering only. With the exclusive lock, the kernels would pass it on at each
//!   heartbeat, and the first one to meet a dead holder would put that host, with all its disks, on the blocklist.
//! - They are mapped with a kernel client of their own: a disk whose lock was broken does not cut them off.
//! - Nothing is written to the catalogue or to XAPI, so that a host attaches them if only the cluster is there.
//!
//! The type of the VDI in XAPI makes a disk one of these, when it is created. xapi refuses to destroy, resize and
//! forget them while high availability is on; a deletion here looks at the image's watchers too.

use uuid::Uuid;

use crate::blocklist::is_cut_off;
use crate::error::{Context, HaRefusal, Result};
use crate::ha::is_ha_disk;
use crate::host::Mapped;
use crate::image_features::ImageFeatures;
use crate::pool::ImageState;
use crate::record::VdiRecord;
use crate::CephSr;

impl CephSr<'_> {
    /// Checks that [`CephSr::attach_ha_vdi`] can attach a disk.
    ///
    /// # Errors
    /// [`HaRefusal`]: the disk is not one of high availability, or its image has the exclusive lock.
    pub fn require_ha_vdi(&self, vdi: &Uuid) -> Result<()> {
        self.ha_vdi(vdi).map(drop)
    }

    /// Maps a disk of high availability for writing, on this host beside all others. Returns its device, the same
    /// one at each further call. Writes nothing to the cluster and asks XAPI nothing.
    ///
    /// # Errors
    /// As [`CephSr::require_ha_vdi`].
    pub fn attach_ha_vdi(&self, vdi: &Uuid) -> Result<Mapped> {
        let (record, image) = self.ha_vdi(vdi)?;
        self.require_features(vdi, &image)?;
        self.drop_unusable_device(&record, false)?;
        self.map(&record, &image, false, true)
    }

    fn ha_vdi(&self, vdi: &Uuid) -> Result<(VdiRecord, ImageState)> {
        let entry = self.catalogue.entry(vdi)?;
        let record = self.catalogue.present(&entry, vdi)?.record.clone();
        let (vdi, ty) = (*vdi, record.xapi.ty.clone());
        if !is_ha_disk(&record) {
            return Err(HaRefusal::OtherType { vdi, ty }.into());
        }
        let image = self.images.state(&record)?;
        let features = ImageFeatures::from_bits(image.features);
        if features != ImageFeatures::LAYERING {
            return Err(HaRefusal::Features {
                vdi,
                ty,
                image: image.name,
                features: features.to_string(),
            }
            .into());
        }
        Ok((record, image))
    }

    /// Refuses a disk of high availability that any host has mapped. No claim shows that.
    pub(crate) fn refuse_attached_ha_vdi(&self, record: &VdiRecord) -> Result<()> {
        if !is_ha_disk(record) {
            return Ok(());
        }
        let image = record.volume.image();
        let watchers = match self.pool.watchers(&image.id) {
            Err(e) if e.is_not_found() => return Ok(()), // removed outside smblock
            other => other.doing(&format!("listing the watchers of image {}", image.name))?,
        };
        let cut_off = self.pool.blocklisted().doing("reading the blocklist")?;
        let mut kernels = watchers.into_iter().filter(|watcher| watcher.is_kernel());
        match kernels.find(|watcher| !is_cut_off(&cut_off, &watcher.address)) {
            None => Ok(()),
            Some(watcher) => Err(HaRefusal::Attached {
                vdi: record.uuid,
                ty: record.xapi.ty.clone(),
                address: watcher.address,
            }
            .into()),
        }
    }
}
