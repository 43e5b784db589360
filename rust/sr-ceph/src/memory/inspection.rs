//! What was done by hand to the images of the simulator.

use nix::libc;

use super::client::MemoryPool;
use super::pool_state::{Image, PoolState};
use super::report;
use crate::pool::{Inspection, PoolError, Result, MIGRATING, NON_PRIMARY};

impl Image {
    /// The limit of snapshots, if the cluster refuses another one. It takes the first one with any limit.
    pub(super) fn reached_limit(&self) -> Option<u64> {
        let count = self.snapshots.len() as u64;
        self.limit.filter(|&limit| count > 0 && count >= limit)
    }

    /// Whether the cluster refuses to change the image.
    pub(super) fn is_read_only(&self) -> bool {
        self.features & (MIGRATING | NON_PRIMARY) != 0
    }
}

impl PoolState {
    /// Whether a snapshot is older than a flatten of its image, and has clones: it is not removed.
    pub(super) fn holds_parent(&self, image_id: &str, snapshot_id: u64) -> bool {
        let image = self.images.get(image_id).filter(|it| it.parent.is_none());
        let snapshot = image.and_then(|image| image.snapshot(snapshot_id));
        snapshot.is_some_and(|it| it.parent.is_some()) && self.has_clones(image_id, snapshot_id)
    }
}

impl Inspection for MemoryPool {
    fn size(&self, id: &str) -> Result<u64> {
        self.look("size", id, |image| image.size)
    }

    fn features(&self, id: &str) -> Result<u64> {
        self.look("features", id, |image| image.features)
    }

    fn is_protected(&self, id: &str, snapshot_id: u64) -> Result<bool> {
        let found = self.look("is_protected", id, |image| {
            let mut snapshots = image.snapshots.iter();
            let snapshot = snapshots.find(|s| s.id == snapshot_id);
            snapshot.map(|snapshot| snapshot.protected)
        })?;
        found.ok_or_else(|| PoolError::new("is_protected", id, libc::ENOENT))
    }

    fn require_removable(&self, id: &str, snapshot_id: u64) -> Result<()> {
        let fail = |errno| Err(PoolError::new("require_removable", id, errno));
        let pool = &self.request("require_removable", id)?.pool;
        match pool.images.contains_key(id) {
            false => fail(libc::ENOENT),
            true if pool.holds_parent(id, snapshot_id) => fail(libc::EBUSY),
            true => Ok(()),
        }
    }

    fn group(&self, id: &str) -> Result<Option<String>> {
        // An image that does not exist is a member of no group.
        match self.look("group", id, |image| image.group.clone()) {
            Err(e) if e.is_not_found() => Ok(None),
            other => other,
        }
    }

    fn leave_group(&self, id: &str) -> Result<()> {
        let pool = &mut self.request("leave_group", id)?.pool;
        if pool.closed_groups {
            return Err(PoolError::new("leave_group", id, libc::EPERM));
        }
        if let Some(image) = pool.images.get_mut(id) {
            image.group = None;
        }
        Ok(())
    }

    fn crush_rules(&self) -> Result<Vec<u8>> {
        let state = self.request("crush_rules", "")?;
        Ok(report::crush_rules(&state.pool))
    }

    fn health(&self) -> Result<Vec<u8>> {
        let state = self.request("health", "")?;
        Ok(report::health(&state.pool))
    }
}
