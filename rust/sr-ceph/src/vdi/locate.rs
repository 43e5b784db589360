//! Where a VDI is, for programs outside XCP-ng that read or write its image.
//!
//! Nothing stops a VM from starting later: a program that uses librbd has no claim. So a VDI that a host has
//! claimed is refused, and docs/user/templates.md states the rest.

use sr::engine::Location;
use uuid::Uuid;

use super::claim::in_use;
use crate::error::{Context, Result};
use crate::hold::Hold;
use crate::CephSr;

impl CephSr<'_> {
    /// Returns where a VDI is. The fields of the user are empty.
    pub fn locate_vdi(&self, vdi: &Uuid) -> Result<Location> {
        let entry = self.journal().acquire(vdi)?;
        let record = &self.catalogue.present(&entry, vdi)?.record;
        crate::ha::refuse(record, "used by another program")?;
        crate::cbt::require_data(record, "used by another program")?;
        if let Some(claim) = &record.claim {
            return Err(in_use(*vdi, claim, Hold::InUse));
        }
        let doing = "asking for the monitors";
        let monitors = self.pool.monitors().doing(doing)?;
        let mut addresses: Vec<String> = monitors.iter().flat_map(|it| it.v1.clone()).collect();
        if addresses.is_empty() {
            addresses = monitors.into_iter().flat_map(|it| it.v2).collect();
        }
        Ok(Location {
            uuid: *vdi,
            fsid: self.pool.fsid().doing("asking for the cluster's fsid")?,
            pool: self.pool.spec(),
            image: record.volume.image().name.clone(),
            snapshot: record.volume.snapshot().map(|it| it.name.clone()),
            size: record.size,
            user: String::new(),
            conf: None,
            keyring: None,
            monitors: addresses,
        })
    }
}
