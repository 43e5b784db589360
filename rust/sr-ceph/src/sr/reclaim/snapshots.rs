//! What the snapshots of a hidden image wait for, and how to remove those that smblock has not taken.

use std::collections::BTreeSet;

use super::pending::Blocker;
use crate::catalogue::{records, LINEAGE_PREFIX, PREPARED_PREFIX, VDI_PREFIX};
use crate::error::{Context, Result};
use crate::pool::{Entries, SnapshotKind, SnapshotState};
use crate::record::{ImageRef, LineageRecord, PreparedRecord, VdiRecord};
use crate::CephSr;

impl CephSr<'_> {
    pub(super) fn who_needs(
        &self,
        image: &ImageRef,
        snapshots: &[SnapshotState],
        entries: &Entries,
    ) -> Result<Blocker> {
        let known = known_snapshots(image, entries);
        let (removed, present): (Vec<_>, Vec<_>) = snapshots.iter().partition(|s| s.removed);
        let (vdis, others): (Vec<_>, Vec<_>) =
            present.into_iter().partition(|s| known.contains(&s.id));
        let lineage = lineage_snapshots(image, entries);
        let (tracking, foreign): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|s| lineage.contains(&s.id));
        // Its present name: it may have been renamed.
        let name = self.pool.image_name(&image.id);
        let name = name.doing(&format!("looking for the name of image {}", image.name))?;
        let name = name.as_ref().unwrap_or(&image.name);
        let path = self.images.path(name);
        let commands = foreign.into_iter().map(|s| self.removal(image, name, s));
        Ok(Blocker::Snapshots {
            vdis: vdis.len(),
            tracking: tracking.len(),
            by_clones: removed.len(),
            foreign: commands.collect::<Result<_>>()?,
            path,
        })
    }

    /// The command that removes a snapshot.
    fn removal(&self, image: &ImageRef, name: &str, snapshot: &SnapshotState) -> Result<String> {
        let (path, spec) = (
            self.images.path(name),
            self.images.snapshot_path(name, &snapshot.name),
        );
        let remove = format!("'rbd snap rm {spec}'");
        Ok(match &snapshot.kind {
            SnapshotKind::Group(group) => {
                let group = librbd::quoted(group);
                format!("'rbd group snap rm {group}' (group snapshot)")
            }
            SnapshotKind::Mirror => format!("'rbd mirror image disable {path}' (mirror snapshot)"),
            SnapshotKind::Removed | SnapshotKind::Other(_) => {
                format!("snapshot id {} of another namespace", snapshot.id)
            }
            SnapshotKind::User => match self.pool.is_protected(&image.id, snapshot.id) {
                Err(e) if e.is_not_found() => remove,
                other => {
                    let doing = format!("looking at the snapshots of image {}", image.name);
                    match other.doing(&doing)? {
                        true => format!("'rbd snap unprotect {spec}', {remove}"),
                        false => remove,
                    }
                }
            },
        })
    }
}

/// The ids of an image's snapshots that changed-block tracking needs, and that are no VDIs.
fn lineage_snapshots(image: &ImageRef, entries: &Entries) -> BTreeSet<u64> {
    let lineages = records::<LineageRecord>(entries, LINEAGE_PREFIX);
    let snapshots = lineages.flat_map(|stored| {
        let LineageRecord {
            image,
            birth,
            origin,
            ..
        } = stored.record;
        [(image, birth), (origin.image, origin.snapshot)]
    });
    let of_image = snapshots.filter(|(of, _)| of.id == image.id);
    of_image.map(|(_, snapshot)| snapshot.id).collect()
}

/// The ids of an image's snapshots that a record names.
fn known_snapshots(image: &ImageRef, entries: &Entries) -> BTreeSet<u64> {
    let vdis = records::<VdiRecord>(entries, VDI_PREFIX);
    let snapshots = vdis.flat_map(|stored| {
        let record = stored.record;
        let point = record
            .reset_point
            .map(|point| (point.image, point.snapshot));
        let volume = record.volume;
        let own = volume
            .snapshot()
            .map(|snapshot| (volume.image().clone(), snapshot.clone()));
        own.into_iter().chain(point)
    });
    let prepared = records::<PreparedRecord>(entries, PREPARED_PREFIX);
    let prepared = prepared.filter_map(|stored| {
        let (image, snapshot) = stored.record.prepared.snapshot()?;
        Some((image.clone(), snapshot.clone()))
    });
    let snapshots = snapshots.chain(prepared);
    let of_image = snapshots.filter(|(of, _)| of.id == image.id);
    of_image.map(|(_, snapshot)| snapshot.id).collect()
}
