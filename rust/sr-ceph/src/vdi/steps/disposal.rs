//! The end of a deletion: what held a VDI's blocks is moved to the trash, or is hidden. `vdi/delete.rs`
//! states why it may be stopped anywhere. Also the end of a creation that is undone, and of a revert.

use uuid::Uuid;

use crate::catalogue::{hidden_key, with_prefix, Stored, LINEAGE_PREFIX, VDI_PREFIX};
use crate::error::Result;
use crate::pool::Entries;
use crate::record::{Action, HiddenRecord, ImageRef, Intent, Record, SnapshotRef, VdiRecord};
use crate::CephSr;

/// Finishes a deletion.
pub(crate) fn complete(ceph_sr: &CephSr<'_>, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
    let trashed = match &intent.record.action {
        Action::DeleteDisk { image, base } => {
            let image = &match base {
                Some(base) => ceph_sr.images.remove_snapshot_of_moved(image, base)?,
                None => image.clone(),
            };
            let (image, needed) = match ceph_sr.images.is_used(image)? {
                Some(used) => (image.clone(), used),
                None => match ceph_sr.images.moved_to(image)? {
                    None => (image.clone(), false),
                    Some(moved) => {
                        let needed = ceph_sr.images.is_needed(&moved)?;
                        (moved, needed)
                    }
                },
            };
            let image = &image;
            if needed || !ceph_sr.images.leaves_group(image)? {
                let bytes = HiddenRecord::new(image.clone()).seal();
                ceph_sr.leave_to_worker(); // to free its data, or to wait for a client that died
                return ceph_sr
                    .journal()
                    .finish(vdi, intent, None, |transaction, _| {
                        transaction.put(hidden_key(&image.id), bytes.clone())
                    });
            }
            ceph_sr.images.move_to_trash(image)?;
            ceph_sr
                .journal()
                .finish(vdi, intent, None, |transaction, _| {
                    transaction.mark_trashed(image)
                })?;
            Some(image.clone())
        }
        Action::DeleteSnapshot { image, snapshot } => {
            let entries = ceph_sr.catalogue.read()?;
            let has_lineages = with_prefix(&entries, LINEAGE_PREFIX).next().is_some();
            let trashed = drop_snapshot(ceph_sr, vdi, (image, snapshot), entries)?;
            ceph_sr
                .journal()
                .finish(vdi, intent, None, |transaction, _| transaction)?;
            if has_lineages {
                ceph_sr.drop_lineages_after_deletion();
            }
            trashed
        }
        _ => {
            return ceph_sr
                .journal()
                .finish(vdi, intent, None, |transaction, _| transaction)
        }
    };
    if let Some(image) = trashed {
        ceph_sr.free_trashed(&image); // nothing names it any more
    }
    Ok(())
}

/// Removes a snapshot, unless another VDI is the same one, or the changes of another image are listed from it. Returns the hidden image that nothing needs any
/// more after that, which is in the trash.
fn drop_snapshot(
    ceph_sr: &CephSr<'_>,
    vdi: &Uuid,
    (image, snapshot): (&ImageRef, &SnapshotRef),
    mut entries: Entries,
) -> Result<Option<ImageRef>> {
    let needed = with_prefix(&entries, VDI_PREFIX).any(|(_, value)| {
        // A record that cannot be read may be the same snapshot.
        VdiRecord::parse(value).map_or(true, |record| {
            let of = record.volume.image();
            // Compared by name too: the record may have the ids that the image has now, or those that it had.
            record.uuid != *vdi
                && record.volume.snapshot().is_some_and(|s| {
                    of.id == image.id && s.id == snapshot.id
                        || of.name == image.name && s.name == snapshot.name
                })
        })
    });
    if needed || CephSr::is_origin(&entries, image, snapshot) {
        return Ok(None);
    }
    let image = ceph_sr.images.remove_snapshot_of_moved(image, snapshot)?;
    match entries.remove(&hidden_key(&image.id)).map(Stored::parse) {
        Some(Ok(hidden)) => ceph_sr.discard_if_free(hidden),
        Some(Err(_)) | None => Ok(None), // a scan reports damaged records
    }
}
