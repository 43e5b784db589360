//! Births and origins that no list of changed blocks needs any more. `cbt.rs` states what they are.
//!
//! A lineage connects the points of its image, and of the images below, with all other points. It is *needed* while
//! two of them may be compared across it, and one of these is a tracked snapshot: a point of the same disk, or a
//! tracked snapshot of an image that the other one was cloned from.
//!
//! A lineage that is not needed is removed in three steps: its birth, its origin if that is no VDI any more, its
//! key. Each can be repeated, and the key names both until they are gone. A hidden image that was kept for a
//! snapshot goes to the trash after that. A lineage itself keeps no image: birth and origin do, as snapshots.
//!
//! If a record cannot be read, it may be a tracked snapshot: nothing is removed.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::catalogue::{
    hidden_key, lineage_key, records, with_prefix, Stored, LINEAGE_PREFIX, VDI_PREFIX,
};
use crate::error::Result;
use crate::image::Images;
use crate::pool::{Entries, Transaction};
use crate::record::{ImageRef, LineageRecord, SnapshotRef, VdiRecord};
use crate::CephSr;

/// The points of an image that may be compared.
#[derive(Debug, Default, Clone, Copy)]
struct Points {
    /// Whether a tracked snapshot is one.
    tracked: bool,
    /// Whether its head is a disk. The next snapshot may be tracked.
    head: bool,
}

impl Points {
    fn any(self) -> bool {
        self.tracked || self.head
    }
}

/// The images of an SR that may be compared, and how they are connected.
struct Tree {
    points: BTreeMap<String, Points>,
    /// The disk that each image was made for.
    disks: BTreeMap<String, Option<Uuid>>,
    /// The image above each one.
    above: BTreeMap<String, String>,
    /// Those with points at each image or below it.
    below: BTreeMap<String, Vec<String>>,
    /// Those that were made for each disk.
    of_disk: BTreeMap<Uuid, Vec<String>>,
}

impl CephSr<'_> {
    /// Whether that snapshot is the origin of an image.
    pub(crate) fn is_origin(entries: &Entries, image: &ImageRef, snapshot: &SnapshotRef) -> bool {
        records::<LineageRecord>(entries, LINEAGE_PREFIX).any(|stored| {
            let origin = stored.record.origin;
            origin.image.id == image.id && origin.snapshot.id == snapshot.id
        })
    }

    /// Removes the lineages that are not needed, as [`CephSr::drop_lineages`] does. The command that deleted
    /// something does not fail because of that: the next scan tries again.
    pub(crate) fn drop_lineages_after_deletion(&self) {
        let entries = self.catalogue.read();
        if let Err(e) = entries.and_then(|entries| self.drop_lineages(&entries)) {
            log::warn!("SR {}: cleanup postponed: {e}", self.sr);
        }
    }

    /// Removes the lineages that are not needed, with their snapshots. One that cannot be removed does not keep the
    /// others: its error is returned after them.
    pub(crate) fn drop_lineages(&self, entries: &Entries) -> Result<()> {
        let lineages: Vec<_> = records::<LineageRecord>(entries, LINEAGE_PREFIX).collect();
        if lineages.is_empty() {
            return Ok(());
        }
        let vdis: Vec<VdiRecord> = with_prefix(entries, VDI_PREFIX)
            .map_while(|(_, value)| Stored::parse(value.clone()).ok())
            .map(|stored| stored.record)
            .collect();
        let all_read = vdis.len() == with_prefix(entries, VDI_PREFIX).count()
            && lineages.len() == with_prefix(entries, LINEAGE_PREFIX).count();
        if !all_read {
            return Ok(());
        }
        let tree = Tree::of(&self.images, &vdis, &lineages);
        let (needed, over): (Vec<_>, Vec<_>) = lineages
            .into_iter()
            .partition(|stored| tree.needs(&stored.record.image.id));
        let mut failed = None;
        for stored in over {
            let needed = needed.iter().map(|stored| &stored.record);
            match self.drop_lineage(&stored, &vdis, needed, entries) {
                Err(e) if e.is_outcome_unknown() => return Err(e),
                Err(e) => failed = failed.or(Some(e)),
                Ok(()) => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn drop_lineage<'n>(
        &self,
        stored: &Stored<LineageRecord>,
        vdis: &[VdiRecord],
        mut needed: impl Iterator<Item = &'n LineageRecord>,
        entries: &Entries,
    ) -> Result<()> {
        let LineageRecord {
            image,
            birth,
            origin,
            ..
        } = &stored.record;
        self.images.remove_snapshot_of_moved(image, birth)?;
        let is_vdi = vdis.iter().any(|vdi| {
            let of = vdi.volume.image();
            // Compared by name too: the lineage has the ids that the images had when it was made.
            vdi.volume.snapshot().is_some_and(|s| {
                of.id == origin.image.id && s.id == origin.snapshot.id
                    || of.name == origin.image.name && s.name == origin.snapshot.name
            })
        });
        if !is_vdi && !needed.any(|other| other.origin == *origin) {
            self.images
                .remove_snapshot_of_moved(&origin.image, &origin.snapshot)?;
        }
        let key = lineage_key(&image.id);
        let transaction = Transaction::default().expect(key.clone(), Some(stored));
        // If it does not apply, another process has removed the key.
        self.catalogue.commit(
            &format!("removing the lineage of image {}", image.name),
            &transaction.erase(key),
        )?;
        for image in [image, &origin.image] {
            let hidden = entries.get(&hidden_key(&image.id)).cloned();
            let Some(Ok(hidden)) = hidden.map(Stored::parse) else {
                continue;
            };
            if let Some(trashed) = self.discard_if_free(hidden)? {
                self.free_trashed(&trashed);
            }
        }
        Ok(())
    }
}

impl Tree {
    fn of(images: &Images<'_>, vdis: &[VdiRecord], lineages: &[Stored<LineageRecord>]) -> Self {
        let mut tree = Tree {
            points: BTreeMap::new(),
            disks: BTreeMap::new(),
            above: BTreeMap::new(),
            below: BTreeMap::new(),
            of_disk: BTreeMap::new(),
        };
        for vdi in vdis {
            let image = vdi.volume.image();
            let points = tree.points.entry(image.id.clone()).or_default();
            points.tracked |= vdi.tracked_snapshot().is_some();
            points.head |= vdi.volume.snapshot().is_none();
            tree.disks
                .insert(image.id.clone(), images.vdi_of_name(&image.name));
        }
        for lineage in lineages {
            let (image, origin) = (&lineage.record.image, &lineage.record.origin.image);
            tree.above.insert(image.id.clone(), origin.id.clone());
        }
        let mut below: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for id in tree.points.keys() {
            for above in tree.ancestry(id) {
                below.entry(above.to_owned()).or_default().push(id.clone());
            }
        }
        tree.below = below;
        for (id, disk) in &tree.disks {
            if let Some(disk) = disk {
                tree.of_disk.entry(*disk).or_default().push(id.clone());
            }
        }
        tree
    }

    /// Whether two points may be compared across the lineage of an image.
    fn needs(&self, image: &str) -> bool {
        let mut below = self.below.get(image).into_iter().flatten();
        below.any(|below| {
            let own = self.points[below];
            let disk = self.disks[below];
            let of_disk = disk.and_then(|disk| self.of_disk.get(&disk));
            let mut of_disk = of_disk.into_iter().flatten().map(String::as_str);
            let across = |other: &str| !self.ancestry(other).contains(image);
            let of_same_disk = of_disk.any(|other| {
                let points = self.points[other];
                (points.tracked && own.any() || own.tracked && points.any()) && across(other)
            });
            of_same_disk
                || own.any()
                    && self.ancestry(below).into_iter().any(|other| {
                        self.points.get(other).is_some_and(|it| it.tracked) && across(other)
                    })
        })
    }

    /// An image, and all above it.
    fn ancestry<'t>(&'t self, image: &'t str) -> BTreeSet<&'t str> {
        let mut found = BTreeSet::new();
        let mut next = Some(image);
        while let Some(image) = next.filter(|image| found.insert(*image)) {
            next = self.above.get(image).map(String::as_str);
        }
        found
    }
}
