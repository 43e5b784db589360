//! What an SR says about itself: its usage and its name.

use uuid::Uuid;

use crate::catalogue::{records, VDI_PREFIX};
use crate::cluster::Cluster;
use crate::error::{Context, Error, Result};
use crate::record::VdiRecord;
use crate::size::Size;
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
        let vdis = records::<VdiRecord>(&entries, VDI_PREFIX);
        Ok(vdis.map(|stored| stored.record.size).sum())
    }

    /// Refuses a pool that its administrator has not meant for RBD images, or that has no room.
    pub(crate) fn require_usable_pool(&self, consequence: &str) -> Result<()> {
        let pool = pool_summary(self.cluster)?;
        if !pool.application_rbd {
            return Err(Error::PoolNotForRbd { pool: pool.name });
        }
        if pool.erasure {
            return Err(Error::PoolErasure { pool: pool.name });
        }
        require_room_in(&pool.usage, consequence)
    }

    /// Refuses what makes the SR grow while the pool is nearly full: Ceph enforces a quota seconds
    /// late, and then blocks every writer for ever.
    pub(crate) fn require_room(&self, consequence: &str) -> Result<PoolUsage> {
        let usage = self.usage()?;
        require_room_in(&usage, consequence)?;
        Ok(usage)
    }

    /// Logs that a disk is larger than the pool. It is allowed: images are thin.
    pub(crate) fn warn_if_oversized(&self, vdi: &Uuid, size: u64, usage: &PoolUsage) {
        if let Some(total) = usage.total().filter(|total| *total < size) {
            log::warn!(
                "VDI {vdi} has {}, and pool {} takes {} in all: its VM is stopped by write errors or \
                 waits for ever once the pool is full",
                Size(size),
                usage.pool,
                Size(total)
            );
        }
    }
}
