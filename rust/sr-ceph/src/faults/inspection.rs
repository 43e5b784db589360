//! Fault injection for the calls that find out what was done to images by hand.

use sr::faults::{change, read};

use super::pool::FaultyPool;
use crate::pool::{Inspection, Result};

impl Inspection for FaultyPool<'_, '_> {
    fn size(&self, id: &str) -> Result<u64> {
        let owned = id.to_owned();
        self.call(&read("size", id), move |c| c.size(&owned))
    }

    fn features(&self, id: &str) -> Result<u64> {
        let owned = id.to_owned();
        self.call(&read("features", id), move |c| c.features(&owned))
    }

    fn is_protected(&self, id: &str, snapshot_id: u64) -> Result<bool> {
        let owned = id.to_owned();
        self.call(&read("is_protected", id), move |c| {
            c.is_protected(&owned, snapshot_id)
        })
    }

    fn require_removable(&self, id: &str, snapshot_id: u64) -> Result<()> {
        let owned = id.to_owned();
        self.call(&read("require_removable", id), move |c| {
            c.require_removable(&owned, snapshot_id)
        })
    }

    fn group(&self, id: &str) -> Result<Option<String>> {
        let owned = id.to_owned();
        self.call(&read("group", id), move |c| c.group(&owned))
    }

    fn leave_group(&self, id: &str) -> Result<()> {
        let owned = id.to_owned();
        self.call(&change("leave_group", id), move |c| c.leave_group(&owned))
    }

    fn crush_rules(&self) -> Result<Vec<u8>> {
        self.call(&read("crush_rules", ""), |c| c.crush_rules())
    }

    fn health(&self) -> Result<Vec<u8>> {
        self.call(&read("health", ""), |c| c.health())
    }
}
