//! What was done by hand to the images of a real pool.

use librbd::{Group, SnapId};
use serde_json::json;

use super::snapshot_kind::path_of;
use super::CephPool;
use crate::pool::{Inspection, Result};

/// `RBD_OPERATION_FEATURE_GROUP`: the image is a member of a group.
const IN_GROUP: u64 = 1 << 2;

impl CephPool {
    fn group_of(&self, id: &str) -> Result<Option<Group>> {
        if self.pool.header(id).op_features()? & IN_GROUP == 0 {
            return Ok(None);
        }
        Ok(self.open_image(id, true)?.group()?)
    }
}

impl Inspection for CephPool {
    fn size(&self, id: &str) -> Result<u64> {
        Ok(self.pool.header(id).size()?)
    }

    fn features(&self, id: &str) -> Result<u64> {
        Ok(self.pool.header(id).features()?)
    }

    fn is_protected(&self, id: &str, snapshot_id: u64) -> Result<bool> {
        Ok(self.pool.header(id).is_protected(SnapId(snapshot_id))?)
    }

    fn require_removable(&self, id: &str, snapshot_id: u64) -> Result<()> {
        let mut image = self.open_image(id, true)?;
        super::flattened::require_no_lost_parent(&mut image, id, snapshot_id)?;
        Ok(image.close()?)
    }

    fn group(&self, id: &str) -> Result<Option<String>> {
        let group = self.group_of(id)?;
        group.map(|group| path_of(&self.pool, &group)).transpose()
    }

    fn leave_group(&self, id: &str) -> Result<()> {
        let Some(group) = self.group_of(id)? else {
            return Ok(());
        };
        if group.pool_id == self.pool.id() {
            return Ok(self.pool.leave_group(&self.pool, &group.name, id)?);
        }
        let pool = self.cluster.pool(&self.cluster.pool_name(group.pool_id)?)?;
        let pool = pool.in_namespace(self.pool.namespace())?;
        Ok(self.pool.leave_group(&pool, &group.name, id)?)
    }

    fn crush_rules(&self) -> Result<Vec<u8>> {
        let command = json!({"prefix": "osd crush rule dump", "format": "json"});
        Ok(self.cluster.mon_command(&command)?)
    }

    fn health(&self) -> Result<Vec<u8>> {
        let command = json!({"prefix": "health", "detail": "detail", "format": "json"});
        Ok(self.cluster.mon_command(&command)?)
    }
}
