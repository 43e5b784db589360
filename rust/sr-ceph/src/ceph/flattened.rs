//! Snapshots that are older than a flatten of their image.
//!
//! Such a snapshot still shares data with the parent that the image had. If it has clones, its removal keeps it in the
//! trash namespace for them, but librbd detaches the image from the parent: `SnapshotRemoveRequest::detach_child`
//! looks for other snapshots that need the parent, and not at the one that it only hides. The parent could be freed
//! then, and the clones would be lost.

use librbd::{Image, SnapId, SnapshotKind};

use crate::pool::{PoolError, Result};

/// Refuses to remove a snapshot with clones that is older than a flatten of its image. One that was removed before, and
/// that Ceph keeps out of sight for its clones, is left to the caller.
pub(super) fn require_no_lost_parent(
    image: &mut Image,
    image_id: &str,
    snapshot_id: u64,
) -> Result<()> {
    if !holds_parent(image, image_id, SnapId(snapshot_id))? {
        return Ok(());
    }
    let mut snapshots = image.snapshots()?.into_iter();
    match snapshots.find(|s| s.id.0 == snapshot_id) {
        Some(snapshot) if !matches!(snapshot.kind, SnapshotKind::Trash { .. }) => {
            Err(refusal(image_id, &snapshot.name))
        }
        _ => Ok(()),
    }
}

/// Whether the image would lose a parent that clones of the snapshot need, if the snapshot was removed. Sends nothing
/// for an image that has a parent.
fn holds_parent(image: &mut Image, image_id: &str, snapshot: SnapId) -> Result<bool> {
    if image.parent()?.is_some() {
        return Ok(false);
    }
    image.set_snapshot(Some(snapshot))?;
    let needed = image.parent()?.is_some() && !image.children()?.is_empty();
    image.set_snapshot(None)?;
    // A head that was emptied shares nothing with its parent, and librbd opens none. It stays attached to it.
    Ok(needed && image.pool().header(image_id).parent_overlap()?.is_none())
}

/// The refusal to remove such a snapshot.
fn refusal(image_id: &str, snapshot: &str) -> PoolError {
    let mut error = PoolError::new("rbd_snap_remove_by_id", image_id, nix::libc::EBUSY);
    error.detail = Some(format!(
        "snapshot {snapshot} is older than a flatten of its image and has clones, which need the image's former parent. Destroy \
         the clones first, or give them all of their data: rbd flatten CLONE, for each image that 'rbd children' lists. A \
         destroyed clone counts until its space is free: try again later"
    ));
    error
}
