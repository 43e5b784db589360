//! Copying XAPI's fields of a VDI to the catalogue.
//!
//! Names, `snapshot_of` and times belong to XAPI while the SR is plugged: XAPI changes other VDIs in its own
//! database without a call to the driver. The catalogue's copy is used when the SR is introduced again. What
//! XAPI does not have for a moment stays there: see [`XapiFields::after`].

use sr::xapi::{ScannedVdi, XapiFields, XapiVdi};
use uuid::Uuid;

use crate::catalogue::{vdi_key, Stored};
use crate::error::Result;
use crate::pool::Transaction;
use crate::record::VdiRecord;
use crate::CephSr;

impl CephSr<'_> {
    /// Copies XAPI's fields of one VDI.
    pub fn update_vdi(&self, vdi: &XapiVdi) -> Result<()> {
        loop {
            let entry = self.catalogue.entry(&vdi.uuid)?;
            let stored = self.catalogue.present(&entry, &vdi.uuid)?;
            if self.copy_fields(stored, &vdi.fields)? {
                return Ok(());
            }
        }
    }

    /// Returns what the catalogue has about a VDI. Fails if the VDI or its image does not exist.
    pub fn introduce_vdi(&self, vdi: &Uuid) -> Result<ScannedVdi> {
        let entry = self.journal().acquire(vdi)?;
        let record = self.catalogue.present(&entry, vdi)?.record.clone();
        self.images.state(&record)?;
        Ok(record.into())
    }

    /// Writes XAPI's fields to a record if they differ. Returns `false` if the record has changed since it
    /// was read.
    pub(crate) fn copy_fields(
        &self,
        stored: &Stored<VdiRecord>,
        fields: &XapiFields,
    ) -> Result<bool> {
        let fields = fields.after(&stored.record.xapi);
        if stored.record.xapi == fields {
            return Ok(true);
        }
        let mut record = stored.record.clone();
        record.xapi = fields;
        let key = vdi_key(&record.uuid);
        let transaction = Transaction::default()
            .expect(key.clone(), Some(stored))
            .write(key, &mut record);
        self.catalogue
            .commit(&format!("updating VDI {}", record.uuid), &transaction)
    }
}
