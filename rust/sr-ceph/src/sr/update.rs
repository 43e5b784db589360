//! The usage and the name of an SR.

use crate::catalogue::{records, VDI_PREFIX};
use crate::error::Result;
use crate::record::VdiRecord;
use crate::usage::PoolUsage;
use crate::CephSr;

pub use crate::room::pool_summary;

impl CephSr<'_> {
    /// Copies the SR's name from XAPI.
    pub fn update_sr(&self, name_label: &str, name_description: &str) -> Result<()> {
        loop {
            let stored = self.catalogue.sr_record()?;
            let mut record = stored.record.clone();
            record.name_label = name_label.to_owned();
            record.name_description = name_description.to_owned();
            if record == stored.record || self.catalogue.replace_sr_record(&stored, &mut record)? {
                return Ok(());
            }
        }
    }

    /// Returns how full the pool is, with its quota.
    pub fn usage(&self) -> Result<PoolUsage> {
        pool_summary(self.pool).map(|pool| pool.usage)
    }

    /// Returns the sum of the virtual sizes of the SR's VDIs in bytes. A VDI whose record cannot be read is
    /// not counted; a scan reports it.
    pub fn virtual_allocation(&self) -> Result<u64> {
        let entries = self.catalogue.read()?;
        let vdis = records::<VdiRecord>(&entries, VDI_PREFIX);
        Ok(vdis.map(|stored| stored.record.size).sum())
    }
}
