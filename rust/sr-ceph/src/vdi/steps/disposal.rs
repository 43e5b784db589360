//! The end of a deletion: what held a VDI's blocks goes to the trash, or is hidden. `vdi/delete.rs` states
//! why it may be stopped anywhere. Also the end of a creation that is undone, and of a revert.

use uuid::Uuid;

use crate::catalogue::{hidden_key, under, Stored, VDI_PREFIX};
use crate::error::Result;
use crate::record::{Action, HiddenRecord, ImageRef, Intent, Record, SnapshotRef, VdiRecord};
use crate::Repository;

/// Brings a deletion to its end.
pub(crate) fn complete(
    repository: &Repository<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
) -> Result<()> {
    let trashed = match &intent.record.action {
        Action::DeleteDisk { image, base } => {
            let image = &match base {
                Some(base) => repository.images.remove_snapshot_of_moved(image, base)?,
                None => image.clone(),
            };
            let (image, needed) = match repository.images.is_used(image)? {
                Some(used) => (image.clone(), used),
                None => match repository.images.moved_to(image)? {
                    None => (image.clone(), false),
                    Some(moved) => {
                        let needed = repository.images.is_needed(&moved)?;
                        (moved, needed)
                    }
                },
            };
            let image = &image;
            if needed || !repository.images.leaves_group(image)? {
                let bytes = HiddenRecord::new(image.clone()).seal();
                repository.leave_to_worker(); // its own data, or to wait for a client that died
                return repository.journal().finish(vdi, intent, None, |swap, _| {
                    swap.put(hidden_key(&image.id), bytes.clone())
                });
            }
            repository.images.move_to_trash(image)?;
            repository
                .journal()
                .finish(vdi, intent, None, |swap, _| swap.mark_trashed(image))?;
            Some(image.clone())
        }
        Action::DeleteSnapshot { image, snapshot } => {
            let trashed = drop_snapshot(repository, vdi, image, snapshot)?;
            repository
                .journal()
                .finish(vdi, intent, None, |swap, _| swap)?;
            trashed
        }
        _ => {
            return repository
                .journal()
                .finish(vdi, intent, None, |swap, _| swap)
        }
    };
    if let Some(image) = trashed {
        repository.free_trashed(&image); // nothing names it any more
    }
    Ok(())
}

/// Removes a snapshot that no other VDI is. Returns the hidden image that nothing needs any more
/// then, which is in the trash.
fn drop_snapshot(
    repository: &Repository<'_>,
    vdi: &Uuid,
    image: &ImageRef,
    snapshot: &SnapshotRef,
) -> Result<Option<ImageRef>> {
    let mut entries = repository.catalogue.read()?;
    let needed = under(&entries, VDI_PREFIX).any(|(_, value)| {
        // A record that cannot be read might be the same snapshot.
        VdiRecord::parse(value).map_or(true, |record| {
            let of = record.volume.image();
            // Also by name: the record may have the ids that the image has now, or those that it had.
            record.uuid != *vdi
                && record.volume.snapshot().is_some_and(|s| {
                    of.id == image.id && s.id == snapshot.id
                        || of.name == image.name && s.name == snapshot.name
                })
        })
    });
    if needed {
        return Ok(None);
    }
    let image = repository
        .images
        .remove_snapshot_of_moved(image, snapshot)?;
    match entries.remove(&hidden_key(&image.id)).map(Stored::parse) {
        Some(Ok(hidden)) => repository.discard_if_free(hidden),
        Some(Err(_)) | None => Ok(None), // a scan reports what is damaged
    }
}
