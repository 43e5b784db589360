//! A snapshot of a disk's image, until a record of the catalogue names it. `vdi/snapshot.rs` states why
//! it may be stopped anywhere.

use uuid::Uuid;

use crate::catalogue::{Entry, Stored};
use crate::error::{Context, Error, Result};
use crate::record::{Action, ImageRef, Intent, SnapshotRef, VdiRecord, Volume};
use crate::CephSr;

impl CephSr<'_> {
    /// The record of a new VDI that is that snapshot of `source`.
    pub(crate) fn snapshot_of(
        &self,
        source: &VdiRecord,
        volume: Volume,
        depth: u32,
        new: &Uuid,
    ) -> VdiRecord {
        let xapi = source.xapi.for_snapshot(source.uuid, self.host.now());
        let mut record = VdiRecord::new(*new, volume, source.size, xapi).with_depth(depth);
        record.cbt = source.cbt;
        record
    }

    /// Takes a snapshot of a disk, which is paused meanwhile if it runs. The caller finishes the intent.
    /// Returns `None` if the disk has changed: look again.
    pub(crate) fn begin_snapshot(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        image: &ImageRef,
        name: &str,
        runs: bool,
    ) -> Result<Option<(Stored<Intent>, SnapshotRef)>> {
        let action = Action::Snapshot {
            image: image.clone(),
            snapshot_name: name.to_owned(),
            paused: runs,
        };
        let Some(intent) = self
            .journal()
            .begin(vdi, entry, action, |transaction| transaction)?
        else {
            return Ok(None);
        };
        let taken = self.snapshot_paused(vdi, &intent, image, name);
        match taken.map_err(|error| self.images.explain_refusal(image, error)) {
            Ok(id) => {
                let name = name.to_owned();
                Ok(Some((intent, SnapshotRef { name, id })))
            }
            Err(error) => Err(self.undo_snapshot_after(error, vdi, &intent)),
        }
    }

    fn snapshot_paused(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        image: &ImageRef,
        name: &str,
    ) -> Result<u64> {
        let paused = matches!(intent.record.action, Action::Snapshot { paused: true, .. });
        if paused {
            self.pool.hold_open(&[&image.id]);
            let doing = format!("pausing VDI {vdi} for a snapshot");
            if let Err(error) = self.host.pause_disk(vdi).doing(&doing) {
                self.pool.let_go();
                return Err(error);
            }
        }
        let taken = self.pool.create_snapshot(&image.id, name);
        let taken = taken.doing(&format!("taking a snapshot of image {}", image.name));
        if paused {
            self.pool.let_go();
            let doing = format!("resuming VDI {vdi} after a snapshot");
            let resumed = self.host.resume_disk(vdi).doing(&doing);
            match (resumed, &taken) {
                (Ok(_), _) => {}
                // The result of the snapshot decides what is undone.
                (Err(resume), Err(_)) => log::warn!("VDI {vdi}: {resume}"),
                (Err(resume), Ok(_)) => return Err(resume),
            }
        }
        taken
    }

    /// As [`CephSr::undo_after`]. A disk that may be paused is resumed in any case.
    fn undo_snapshot_after(&self, error: Error, vdi: &Uuid, intent: &Stored<Intent>) -> Error {
        let undone = if error.is_outcome_unknown() {
            resume(self, vdi, intent).err().map(Err)
        } else {
            Some(undo(self, vdi, intent))
        };
        error.after_rollback(vdi, undone)
    }
}

/// Undoes an unfinished snapshot, and resumes the disk.
pub(crate) fn undo(ceph_sr: &CephSr<'_>, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
    resume(ceph_sr, vdi, intent)?;
    undo_resumed(ceph_sr, vdi, intent)
}

/// The same for a disk that is resumed.
pub(crate) fn undo_resumed(
    ceph_sr: &CephSr<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
) -> Result<()> {
    remove(ceph_sr, intent)?;
    ceph_sr
        .journal()
        .finish(vdi, intent, None, |transaction, _| transaction)
}

/// Removes the snapshot of an intent, if it was taken.
pub(crate) fn remove(ceph_sr: &CephSr<'_>, intent: &Stored<Intent>) -> Result<()> {
    match &intent.record.action {
        Action::Snapshot {
            image,
            snapshot_name,
            ..
        } => ceph_sr.images.remove_snapshot_named(image, snapshot_name),
        _ => Ok(()),
    }
}

/// Resumes the disk of an intent, if it was to be paused.
pub(crate) fn resume(ceph_sr: &CephSr<'_>, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
    if !matches!(intent.record.action, Action::Snapshot { paused: true, .. }) {
        return Ok(());
    }
    let doing = format!("resuming VDI {vdi} after an unfinished snapshot");
    ceph_sr.host.resume_disk(vdi).doing(&doing).map(drop)
}
