//! Whether an image has changed since a snapshot. The comparison has a time limit.

use std::time::{Duration, Instant};

use librbd::{Image, SnapshotKind};
use nix::libc;

use crate::chain::MAX_SNAPSHOTS;
use crate::image_format::step_of;
use crate::pool::{PoolError, Result};

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
    let step = step_of(image.pool().header(image_id).object_size()?);
    let mut offset = 0;
    while offset < size {
        let length = step.min(size - offset);
        if start.elapsed() > patience {
            return Ok(false);
        }
        match image.differs_from(&snapshot.name, offset, length) {
            Ok(false) => {}
            Ok(true) => return Ok(false),
            // As if the patience was over: another snapshot is taken.
            Err(error) if error.errno() == Some(libc::ETIMEDOUT) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        offset += length;
    }
    Ok(true)
}
