//! Copying what XAPI knows about a VDI into the catalogue.
//!
//! Names, `snapshot_of` and times are XAPI's while the SR is plugged: it repoints siblings in its
//! own database without telling any driver. The catalogue's copy speaks when the SR is introduced
//! again.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::catalogue::{vdi_key, Stored};
use crate::cluster::Swap;
use crate::error::Result;
use crate::record::{VdiRecord, XapiFields};
use crate::sr::scan::ScannedVdi;
use crate::Repository;

/// A VDI as XAPI's database has it.
#[derive(Debug, Clone)]
pub struct XapiVdi {
    /// The VDI's UUID.
    pub uuid: Uuid,
    /// `virtual_size` in bytes.
    pub size: u64,
    /// The rest.
    pub fields: XapiFields,
}

/// `sm_config` without what belongs to a running host or to another part of SM, and would be
/// wrong after the SR was introduced elsewhere.
pub fn lasting_sm_config(sm_config: BTreeMap<String, String>) -> BTreeMap<String, String> {
    const TRANSIENT: [&str; 9] = [
        "paused",
        "activating",
        "relinking",
        "base_mirror",
        "on_boot",
        "caching",
        "import_task",
        "key_hash",
        "backend-kind",
    ];
    sm_config
        .into_iter()
        .filter(|(key, _)| {
            !TRANSIENT.contains(&key.as_str())
                && !key.starts_with("host_")
                && !key.starts_with("read-caching-")
        })
        .collect()
}

impl Repository<'_> {
    /// Takes over what XAPI knows about one VDI.
    pub fn update_vdi(&self, vdi: &XapiVdi) -> Result<()> {
        loop {
            let entry = self.entry(&vdi.uuid)?;
            let stored = self.present(&entry, &vdi.uuid)?;
            if self.copy_fields(stored, &vdi.fields)? {
                return Ok(());
            }
        }
    }

    /// What the catalogue knows about a VDI; it must be there, and its image too.
    pub fn introduce_vdi(&self, vdi: &Uuid) -> Result<ScannedVdi> {
        let entry = self.turn(vdi)?;
        let record = self.present(&entry, vdi)?.record.clone();
        self.image_state(&record)?;
        Ok(ScannedVdi {
            uuid: record.uuid,
            size: record.size,
            xapi: record.xapi,
            known_to_xapi: false,
        })
    }

    /// Writes XAPI's fields to a record where they differ. `false`: the record has changed since
    /// it was read.
    pub(crate) fn copy_fields(
        &self,
        stored: &Stored<VdiRecord>,
        fields: &XapiFields,
    ) -> Result<bool> {
        if stored.record.xapi == *fields {
            return Ok(true);
        }
        let mut record = stored.record.clone();
        record.xapi = fields.clone();
        let key = vdi_key(&record.uuid);
        let swap = Swap::default()
            .expect(key.clone(), Some(stored))
            .write(key, &mut record);
        self.commit(&format!("updating VDI {}", record.uuid), &swap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_running_host_is_not_remembered() {
        let sm_config = [
            ("host_OpaqueRef:1", "RW"),
            ("paused", "true"),
            ("read-caching-enabled-on-1", "false"),
            ("vhd-parent", "abc"),
        ];
        let sm_config = sm_config
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let kept: Vec<_> = lasting_sm_config(sm_config).into_keys().collect();
        assert_eq!(kept, ["vhd-parent"]);
    }
}
