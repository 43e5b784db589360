//! An image that has another id than the catalogue has: it was migrated in place (`rbd migration`), or
//! removed and imported again.
//!
//! The image is the same one if it has the name that the lost image had, and an image-meta that
//! names this SR and the VDI that the name was made for. Migrations and copies keep the image-meta.
//! Snapshots keep their names, and get other ids.
//!
//! One swap writes the new ids to every record that names the lost image: its disk, its snapshots that are
//! VDIs, its reset points, and its `hidden` key. No record is changed while one of the VDIs is claimed or an
//! operation on one is under way: a later scan changes it. Until then the VDIs stay listed, and cannot be
//! used.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::{
    hidden_key, intent_key, records, vdi_key, vdis_if, Stored, HIDDEN_PREFIX, VDI_PREFIX,
};
use crate::error::{Context, Result};
use crate::image::Successor;
use crate::pool::{Entries, ImageState, Transaction};
use crate::record::{BaseSnapshot, HiddenRecord, ImageRef, Intent, SnapshotRef, VdiRecord, Volume};
use crate::CephSr;

impl CephSr<'_> {
    /// Updates the records of images that have other ids now. `images`: the pool's directory. Returns how
    /// many records were changed.
    pub(crate) fn adopt_moved(
        &self,
        entries: &Entries,
        images: &BTreeMap<String, String>,
    ) -> Result<usize> {
        let disks = vdis_if(entries, |vdi| !images.contains_key(vdi.image_id()));
        let disks = disks.map(|stored| stored.record.volume.image().clone());
        let hidden = records::<HiddenRecord>(entries, HIDDEN_PREFIX);
        let hidden = hidden.map(|stored| stored.record.image);
        let lost: BTreeMap<_, _> = disks
            .chain(hidden)
            .filter(|image| !images.contains_key(&image.id))
            .map(|image| (image.id.clone(), image))
            .collect();
        if lost.is_empty() {
            return Ok(0);
        }
        let names: BTreeSet<&String> = images.values().collect();
        let mut adopted = 0;
        for (id, image) in lost {
            if !names.contains(&image.name) {
                continue;
            }
            match self.pool.features(&id) {
                Err(e) if e.is_not_found() => adopted += self.adopt(&image)?,
                other => {
                    other.doing(&format!("looking for image {}", image.name))?;
                }
            }
        }
        Ok(adopted)
    }

    /// Updates the records of an image that has another id now. Returns how many were changed: none if there
    /// is no such image, or one of its VDIs is busy.
    pub(crate) fn adopt(&self, lost: &ImageRef) -> Result<usize> {
        let Successor::Ours(found) = self.images.successor_of(lost)? else {
            return Ok(0);
        };
        let entries = self.catalogue.read()?;
        let mut transaction = Transaction::default();
        for stored in records::<VdiRecord>(&entries, VDI_PREFIX) {
            let Some(mut record) = moved(&stored.record, lost, &found) else {
                continue;
            };
            let (vdi, key) = (record.uuid, vdi_key(&record.uuid));
            if record.claim.is_some() || entries.contains_key(&intent_key(&vdi)) {
                log::warn!(
                    "image {} (id {}) has another id now ({}): the catalogue keeps the old one while VDI {vdi} is in use",
                    lost.name, lost.id, found.id
                );
                return Ok(0);
            }
            transaction = transaction
                .expect(key.clone(), Some(&stored))
                .expect::<Intent>(intent_key(&vdi), None)
                .write(key, &mut record);
        }
        let key = hidden_key(&lost.id);
        if let Some(Ok(stored)) = entries
            .get(&key)
            .cloned()
            .map(Stored::<HiddenRecord>::parse)
        {
            let mut hidden = HiddenRecord::new(reference(&found));
            transaction = transaction.expect(key.clone(), Some(&stored)).erase(key);
            transaction = transaction.write(hidden_key(&found.id), &mut hidden);
        }
        let changed = transaction.set.len();
        if changed == 0
            || !self.catalogue.commit(
                &format!("recording the new id of image {}", found.name),
                &transaction,
            )?
        {
            return Ok(0);
        }
        log::warn!(
            "SR {}: image {} has the id {} now, and had {}: it was migrated or imported outside smblock. {changed} record(s) were changed",
            self.sr, found.name, found.id, lost.id
        );
        Ok(changed)
    }
}

fn reference(found: &ImageState) -> ImageRef {
    ImageRef {
        name: found.name.clone(),
        id: found.id.clone(),
    }
}

/// A record that names the lost image, with the ids of the image that was found.
fn moved(record: &VdiRecord, lost: &ImageRef, found: &ImageState) -> Option<VdiRecord> {
    let snapshot = |old: &SnapshotRef| {
        let mut snapshots = found.snapshots.iter();
        let new = snapshots.find(|s| s.name == old.name && !s.removed)?;
        Some(SnapshotRef {
            name: old.name.clone(),
            id: new.id,
        })
    };
    let mut moved = record.clone();
    let image = reference(found);
    if record.volume.image().id == lost.id {
        moved.volume = match &record.volume {
            Volume::Head { .. } => Volume::Head { image },
            // Ids are never reused: a snapshot without a successor stays missing.
            Volume::Snapshot { snapshot: old, .. } => Volume::Snapshot {
                image,
                snapshot: snapshot(old).unwrap_or_else(|| old.clone()),
            },
        };
        moved.epoch += 1;
        // Its epoch is over: the next scan removes it.
        moved.base = record.base.as_ref().and_then(|base| {
            snapshot(&base.snapshot).map(|snapshot| BaseSnapshot {
                snapshot,
                epoch: base.epoch,
            })
        });
    }
    if let Some(point) = record
        .reset_point
        .as_ref()
        .filter(|p| p.image.id == lost.id)
    {
        moved.reset_point = snapshot(&point.snapshot).map(|snapshot| {
            let mut point = point.clone();
            (point.image, point.snapshot) = (reference(found), snapshot);
            point
        });
    }
    (moved != *record).then_some(moved)
}
