//! The RBD namespace of a snapshot of a real image.

use librbd::{Group, Snapshot, SnapshotKind};

use crate::pool::spec::spec;
use crate::pool::{Origin, Result};

/// Returns what a snapshot of an image in `pool` is.
pub(super) fn origin(
    pool: &librbd::Pool,
    image: &librbd::Image,
    snapshot: &Snapshot,
) -> Result<Origin> {
    Ok(match &snapshot.kind {
        SnapshotKind::User => Origin::User,
        SnapshotKind::Trash { .. } => Origin::Removed,
        SnapshotKind::Mirror => Origin::Mirror,
        SnapshotKind::Group => {
            let found = image.group_snapshot(snapshot.id)?;
            let group = path_of(pool, &found.group)?;
            Origin::Group(format!("{group}@{}", found.name))
        }
        SnapshotKind::Other(number) => Origin::Other(*number),
    })
}

/// The path of a group of an image in `pool`, `POOL/GROUP`. Both are in the same namespace: librbd makes no
/// other groups.
pub(super) fn path_of(pool: &librbd::Pool, group: &Group) -> Result<String> {
    let name = pool.cluster().pool_name(group.pool_id)?;
    Ok(format!("{}/{}", spec(&name, pool.namespace()), group.name))
}
