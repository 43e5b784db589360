//! What an SR says about itself: its usage, its name, its trash.

use crate::catalogue::{image_prefix, VDI_PREFIX};
use crate::cluster::{Cluster, TrashedImage};
use crate::error::{Context, Error, Result};
use crate::record::{Record, VdiRecord};
use crate::usage::{ClusterReport, PoolSummary, PoolUsage};
use crate::Repository;

/// A pool as its administrator has set it up, and how full it is.
pub fn pool_summary(cluster: &dyn Cluster) -> Result<PoolSummary> {
    let df = cluster.df().doing("asking how full the pool is")?;
    let dump = cluster.osd_dump();
    let dump = dump.doing("asking for the pool's quota")?;
    Ok(ClusterReport::parse(&df, &dump)?.summary(cluster.pool_name())?)
}

fn require_room_in(usage: &PoolUsage, consequence: &str) -> Result<()> {
    usage.room_for_growth().map_err(|source| Error::NoRoom {
        consequence: consequence.to_owned(),
        source,
    })
}

impl Repository<'_> {
    /// Takes over the SR's name from XAPI.
    pub fn update_sr(&self, name_label: &str, name_description: &str) -> Result<()> {
        loop {
            let stored = self.sr_record()?;
            let mut record = stored.record.clone();
            record.name_label = name_label.to_owned();
            record.name_description = name_description.to_owned();
            if record == stored.record || self.replace_sr_record(&stored, &mut record)? {
                return Ok(());
            }
        }
    }

    /// How full the pool is, with its quota.
    pub fn usage(&self) -> Result<PoolUsage> {
        pool_summary(self.cluster).map(|pool| pool.usage)
    }

    /// Sum of the virtual sizes of the SR's VDIs in bytes. A VDI whose record cannot be read is
    /// not counted; a scan reports it.
    pub fn virtual_allocation(&self) -> Result<u64> {
        let entries = self.read_catalogue()?;
        let vdis = entries
            .iter()
            .filter(|(key, _)| key.starts_with(VDI_PREFIX));
        let sizes = vdis.filter_map(|(_, value)| VdiRecord::parse(value).ok());
        Ok(sizes.map(|record| record.size).sum())
    }

    /// Refuses a pool that its administrator has not meant for RBD images, or that has no room.
    pub(crate) fn require_usable_pool(&self, consequence: &str) -> Result<()> {
        let pool = pool_summary(self.cluster)?;
        if !pool.application_rbd {
            return Err(Error::PoolNotForRbd { pool: pool.name });
        }
        require_room_in(&pool.usage, consequence)
    }

    /// Refuses what makes the SR grow while the pool is nearly full: Ceph enforces a quota seconds
    /// late, and then blocks every writer for ever.
    pub(crate) fn require_room(&self, consequence: &str) -> Result<()> {
        require_room_in(&self.usage()?, consequence)
    }

    /// This SR's images in the trash: space that is still to be freed.
    pub fn trashed_images(&self) -> Result<Vec<TrashedImage>> {
        let prefix = image_prefix(&self.sr);
        let mut trashed = self.cluster.trash().doing("listing the trash")?;
        trashed.retain(|image| image.name.starts_with(&prefix));
        Ok(trashed)
    }

    /// Frees this SR's trashed images here and now, one after the other; `report` hears of each.
    /// Takes as long as the images have objects. What cannot be freed yet (somebody still watches
    /// it) is reported and passed over.
    pub fn reclaim(&self, mut report: impl FnMut(&TrashedImage, Option<&Error>)) -> Result<usize> {
        let mut left = 0;
        for image in self.trashed_images()? {
            let doing = format!("freeing image {}", image.name);
            let freed = match self.cluster.purge(&image.id, &mut |_, _| {}) {
                Err(e) if e.is_not_found() => Ok(()), // the manager was faster
                other => other.doing(&doing),
            };
            left += usize::from(freed.is_err());
            report(&image, freed.err().as_ref());
        }
        Ok(left)
    }
}
