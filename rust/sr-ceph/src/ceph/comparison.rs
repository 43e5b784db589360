//! Whether an image has changed since a snapshot. The comparison has a time limit.

use std::time::{Duration, Instant};

use librbd::{Image, SnapshotKind};
use nix::libc;

use crate::chain::MAX_SNAPSHOTS;
use crate::pool::{PoolError, Result};

/// How many bytes of an image are compared in one step.
const STEP: u64 = 16 << 30;

/// How long the comparison may take: as long as a snapshot takes on a busy cluster.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it may take if the image has many snapshots: one more is to be avoided.
const PATIENCE_IF_MANY: Duration = Duration::from_secs(15);

/// See [`is_unchanged_since`](crate::pool::Pool::is_unchanged_since).
pub(super) fn is_unchanged(image: &Image, image_id: &str, snapshot_id: u64) -> Result<bool> {
    let snapshots = image.snapshots()?;
    let patience = if snapshots.len() < MAX_SNAPSHOTS / 2 {
        PATIENCE
    } else {
        PATIENCE_IF_MANY
    };
    let mut snapshots = snapshots.into_iter();
    let found = snapshots.find(|s| s.id.0 == snapshot_id && s.kind == SnapshotKind::User);
    let Some(snapshot) = found else {
        return Err(PoolError::new("rbd_snap_list", image_id, libc::ENOENT));
    };
    let (size, start) = (image.size()?, Instant::now());
    if snapshot.size != size {
        return Ok(false);
    }
    let mut offset = 0;
    while offset < size {
        let length = STEP.min(size - offset);
        if start.elapsed() > patience || image.differs_from(&snapshot.name, offset, length)? {
            return Ok(false);
        }
        offset += length;
    }
    Ok(true)
}
