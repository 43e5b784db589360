//! The RBD namespace of a snapshot of a real image.

use librbd::{Group, Snapshot, SnapshotKind};

use crate::pool::{Origin, Result};

/// Returns what a snapshot of an image is.
pub(super) fn origin(
    cluster: &librbd::Cluster,
    image: &librbd::Image,
    snapshot: &Snapshot,
) -> Result<Origin> {
    Ok(match &snapshot.kind {
        SnapshotKind::User => Origin::User,
        SnapshotKind::Trash { .. } => Origin::Removed,
        SnapshotKind::Mirror => Origin::Mirror,
        SnapshotKind::Group => {
            let found = image.group_snapshot(snapshot.id)?;
            let group = path_of(cluster, &found.group)?;
            Origin::Group(format!("{group}@{}", found.name))
        }
        SnapshotKind::Other(number) => Origin::Other(*number),
    })
}

/// The path of a group, `POOL/GROUP`.
pub(super) fn path_of(cluster: &librbd::Cluster, group: &Group) -> Result<String> {
    let pool = cluster.pool_name(group.pool_id)?;
    Ok(format!("{pool}/{}", group.name))
}
