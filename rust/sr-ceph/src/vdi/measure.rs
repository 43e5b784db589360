//! What one VDI takes, more exactly than the count of all disks (`sr/utilisation.rs`).
//!
//! Ceph is asked about each object that the VDI can have, so this takes some seconds for each TiB of virtual size.
//! The VDI is looked at in pieces, each with a deadline of its own. It may be in use: nothing is locked, and a
//! change meanwhile counts or not.

use uuid::Uuid;

use crate::error::{Context, Result};
use crate::image_format::step_of;
use crate::sr::utilisation::Progress;
use crate::CephSr;

impl CephSr<'_> {
    /// Returns the bytes of a disk, or of a snapshot, that have data of their own: those that it shares with its
    /// parent do not count, those that a disk shares with its snapshots count for each of them. A hole counts if it
    /// is inside of an object, before its end. Does not wait for an operation on the VDI.
    pub fn measure_vdi(&self, vdi: &Uuid, progress: Progress<'_>) -> Result<u64> {
        let entry = self.catalogue.entry(vdi)?;
        let record = &self.catalogue.present(&entry, vdi)?.record;
        let image = record.volume.image();
        let snapshot = record.volume.snapshot().map(|snapshot| snapshot.id);
        let doing = format!("measuring image {}", image.name);
        let step = step_of(self.pool.object_size_of(&image.id).doing(&doing)?);
        let (mut taken, mut offset) = (0, 0);
        while offset < record.size {
            let length = step.min(record.size - offset);
            let data = self.pool.data_in(&image.id, snapshot, offset, length);
            taken += data.doing(&doing)?;
            offset += length;
            progress(offset, record.size);
        }
        Ok(taken)
    }
}
