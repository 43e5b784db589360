//! The RBD namespace of a snapshot of a real image.

use librbd::{Group, Snapshot};

use crate::pool::spec::spec;
use crate::pool::{Result, SnapshotKind};

/// Returns the namespace of a snapshot of an image in `pool`.
pub(super) fn kind(
    pool: &librbd::Pool,
    image: &librbd::Image,
    snapshot: &Snapshot,
) -> Result<SnapshotKind> {
    Ok(match &snapshot.kind {
        librbd::SnapshotKind::User => SnapshotKind::User,
        librbd::SnapshotKind::Trash { .. } => SnapshotKind::Removed,
        librbd::SnapshotKind::Mirror => SnapshotKind::Mirror,
        librbd::SnapshotKind::Group => {
            let found = image.group_snapshot(snapshot.id)?;
            let group = path_of(pool, &found.group)?;
            SnapshotKind::Group(format!("{group}@{}", found.name))
        }
        librbd::SnapshotKind::Other(number) => SnapshotKind::Other(*number),
    })
}

/// The path of a group of an image in `pool`, `POOL/GROUP`. Both are in the same namespace: librbd makes no
/// other groups.
pub(super) fn path_of(pool: &librbd::Pool, group: &Group) -> Result<String> {
    let name = pool.cluster().pool_name(group.pool_id)?;
    Ok(format!("{}/{}", spec(&name, pool.namespace()), group.name))
}
