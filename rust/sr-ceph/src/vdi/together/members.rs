//! Which disks are snapshotted together.

use sr::engine::Together;
use uuid::Uuid;

use crate::catalogue::{Entry, Stored};
use crate::error::{Error, Result};
use crate::record::{PreparedRecord, VdiRecord, Volume};
use crate::{chain, CephSr};

/// The disks of a group. The first one is the disk that was requested.
pub(crate) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) left_out: Vec<LeftOut>,
}

/// A disk whose snapshot is to be taken.
pub(super) struct Member {
    pub(super) vdi: Uuid,
    /// Its record, as it was read.
    pub(super) source: Stored<VdiRecord>,
    /// The name of the snapshot: the UUID of its VDI.
    pub(super) name: String,
    /// The length of its image's clone chain, in parents.
    pub(super) depth: u32,
    /// The size of its image in bytes.
    pub(super) size: u64,
}

/// A disk of the VM that cannot have a snapshot of this instant.
pub(super) struct LeftOut {
    pub(super) vdi: Uuid,
    pub(super) reason: String,
}

/// The text of an error with its id, for a record of the catalogue.
pub(super) fn reason(error: &Error) -> String {
    format!("{error} ({})", error.id())
}

/// Whether a VM writes to the disk.
fn is_written(record: &VdiRecord) -> bool {
    matches!(record.volume, Volume::Head { .. })
        && record.claim.is_some()
        && !crate::ha::is_ha_disk(record)
}

impl CephSr<'_> {
    /// Returns the disks that are to be snapshotted together with a disk, whose snapshot is `new`. `None`: it is snapshotted alone,
    /// because no VM writes to it, or no other disk is in use.
    pub(in crate::vdi) fn gather(
        &self,
        entry: &Entry,
        source: &Stored<VdiRecord>,
        new: &Uuid,
        together: &Together,
    ) -> Result<Option<Group>> {
        if together.siblings.is_empty() || !is_written(&source.record) {
            return Ok(None);
        }
        let mut group = Group {
            members: vec![self.member(source, new)?],
            left_out: Vec::new(),
        };
        if let Ok(Some(found)) = self.prepared_in(&source.record.uuid, entry) {
            if self.is_task_over(&source.record.uuid, &found.record) {
                self.drop_one(&source.record.uuid, &found)?;
            }
        }
        let mut waited = 0;
        let entries = self.catalogue.entries(&together.siblings)?;
        for (vdi, entry) in together.siblings.iter().zip(entries) {
            let is_known = group.members.iter().any(|member| member.vdi == *vdi);
            if is_known || !self.is_free_for(vdi, entry.as_ref(), together)? {
                continue;
            }
            let joined = self.join(vdi, entry, &mut waited);
            match joined {
                Err(e) if e.is_outcome_unknown() => return Err(e),
                Err(e) => group.left_out.push(LeftOut {
                    vdi: *vdi,
                    reason: reason(&e),
                }),
                Ok(joined) => group.members.extend(joined),
            }
        }
        let is_alone = group.members.len() == 1 && group.left_out.is_empty();
        Ok((!is_alone).then_some(group))
    }

    /// Whether a snapshot can be prepared for a sibling. What a task has left there that is over is removed.
    fn is_free_for(
        &self,
        vdi: &Uuid,
        entry: std::result::Result<&Entry, &Error>,
        together: &Together,
    ) -> Result<bool> {
        let Some(bytes) = entry.ok().and_then(|entry| entry.prepared.clone()) else {
            return Ok(true);
        };
        match Stored::<PreparedRecord>::parse(bytes) {
            Ok(found) if found.record.task == together.task => Ok(false),
            Ok(found) if self.is_task_over(vdi, &found.record) => {
                self.drop_one(vdi, &found)?;
                Ok(true)
            }
            Ok(found) => {
                let task = &found.record.task;
                log::warn!(
                    "VDI {vdi} gets no snapshot of this instant: it has one for task {task}"
                );
                Ok(false)
            }
            Err(e) => {
                log::error!("VDI {vdi} gets no snapshot of this instant: {e}");
                Ok(false)
            }
        }
    }

    /// A sibling as a member. `None`: no VM writes to it.
    fn join(&self, vdi: &Uuid, entry: Result<Entry>, waited: &mut u64) -> Result<Option<Member>> {
        let mut entry = entry?;
        let is_wanted =
            |entry: &Entry| matches!(&entry.vdi, Some(stored) if is_written(&stored.record));
        if is_wanted(&entry) && entry.intent.is_some() {
            entry = self.journal().acquire_after(vdi, waited)?;
        }
        match &entry.vdi {
            Some(stored) if is_wanted(&entry) => self.member(stored, &Uuid::new_v4()).map(Some),
            _ => Ok(None),
        }
    }

    fn member(&self, source: &Stored<VdiRecord>, new: &Uuid) -> Result<Member> {
        let (depth, size) = chain::require_short(&self.images, &source.record)?;
        self.require_resumable(&source.record, size)?;
        Ok(Member {
            vdi: source.record.uuid,
            source: source.clone(),
            name: new.to_string(),
            depth,
            size,
        })
    }
}
