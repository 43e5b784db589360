//! Taking a snapshot.
//!
//! Of a disk:
//! 1. The intent, with the snapshot's name, goes into the catalogue.
//! 2. A disk that runs is paused, the snapshot is taken, and the disk goes on.
//! 3. One swap writes the new VDI's record and removes the intent.
//!
//! Until step 3 XAPI does not know the new VDI, so whoever finds the intent undoes it: the disk goes
//! on, if it was to be paused, and a snapshot of that name is removed. The intent is no lock that
//! pausing could wait for: whoever pauses or resumes a disk asks the cluster nothing.
//!
//! Of a snapshot: nothing can write to it, so the new VDI is the same one, by one swap.

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, Entry, Stored};
use crate::cluster::Swap;
use crate::error::{Context, Error, Result};
use crate::record::{Action, ImageRef, Intent, Record, SnapshotRef, VdiRecord, Volume};
use crate::Repository;

/// Parents that an image can have, one behind the other: krbd maps 16. A snapshot is refused
/// before that, so that every snapshot there is can be cloned, and the clone be mapped.
pub const MAX_DEPTH: u32 = 14;

/// Snapshots that an image can have: krbd maps an image with 510.
pub const MAX_SNAPSHOTS: usize = 500;

impl Repository<'_> {
    /// Makes a VDI of the UUID `new` that stays what `vdi` is now.
    pub fn snapshot_vdi(&self, vdi: &Uuid, new: &Uuid) -> Result<VdiRecord> {
        self.require_new(new)?;
        self.require_room(&format!("no snapshot of VDI {vdi} was taken"))?;
        loop {
            let entry = self.turn(vdi)?;
            let source = self.present(&entry, vdi)?;
            let done = match &source.record.volume {
                Volume::Snapshot { .. } => self.same_snapshot(vdi, &entry, source, new)?,
                Volume::Head { image } => self.take_snapshot(vdi, &entry, source, image, new)?,
            };
            if let Some(record) = done {
                return Ok(record);
            }
        }
    }

    fn same_snapshot(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        source: &Stored<VdiRecord>,
        new: &Uuid,
    ) -> Result<Option<VdiRecord>> {
        let volume = source.record.volume.clone();
        let mut record = self.snapshot_of(&source.record, volume, source.record.depth, new);
        let swap = Swap::default()
            .expect(crate::catalogue::SR_KEY.into(), Some(&entry.sr))
            .expect(vdi_key(vdi), Some(source))
            .expect::<Intent>(intent_key(vdi), None)
            .expect::<VdiRecord>(vdi_key(new), None)
            .write(vdi_key(new), &mut record);
        let written = self.commit(&format!("recording the snapshot {new}"), &swap)?;
        Ok(written.then_some(record))
    }

    fn take_snapshot(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        source: &Stored<VdiRecord>,
        image: &ImageRef,
        new: &Uuid,
    ) -> Result<Option<VdiRecord>> {
        let (depth, size) = self.require_short_chain(&source.record)?;
        let (name, runs) = (new.to_string(), source.record.claim.is_some());
        let Some((intent, snapshot)) = self.begin_snapshot(vdi, entry, image, &name, runs)? else {
            return Ok(None);
        };
        let volume = Volume::Snapshot {
            image: image.clone(),
            snapshot,
        };
        let mut record = self.snapshot_of(&source.record, volume, depth, new);
        record.size = size;
        let bytes = record.seal();
        self.finish_copy(vdi, &intent, source, (new, &bytes), None, |_| {})?;
        Ok(Some(record))
    }

    /// Takes a snapshot of a disk, which is paused meanwhile where it runs; the caller finishes the
    /// intent. `None`: the disk has changed; look again.
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
        let Some(intent) = self.begin(vdi, entry, action, |swap| swap)? else {
            return Ok(None);
        };
        let taken = self.snapshot_paused(vdi, &intent, image, name);
        match taken.map_err(|error| self.explain_refusal(image, error)) {
            Ok(id) => {
                let name = name.to_owned();
                Ok(Some((intent, SnapshotRef { name, id })))
            }
            Err(error) => Err(self.undo_snapshot_after(error, vdi, &intent)),
        }
    }

    fn snapshot_of(&self, source: &VdiRecord, volume: Volume, depth: u32, new: &Uuid) -> VdiRecord {
        let xapi = source.xapi.for_snapshot(source.uuid, self.host.now());
        VdiRecord::new(*new, volume, source.size, xapi).with_depth(depth)
    }

    /// Writes a new VDI's record and removes the intent at the disk that it was made from. That
    /// one's record is written anew, with what `also` changes: a request to begin that arrives
    /// late must not find it as it was. `reserved` is the intent at the new VDI, where there is one.
    pub(crate) fn finish_copy(
        &self,
        disk: &Uuid,
        intent: &Stored<Intent>,
        source: &Stored<VdiRecord>,
        (new, bytes): (&Uuid, &[u8]),
        reserved: Option<&Stored<Intent>>,
        also: impl Fn(&mut VdiRecord),
    ) -> Result<()> {
        self.finish(disk, intent, Some(source.clone()), |swap, source| {
            let mut swap = swap
                .expect::<VdiRecord>(vdi_key(new), None)
                .put(vdi_key(new), bytes.to_vec());
            if reserved.is_some() {
                let key = intent_key(new);
                swap = swap.expect(key.clone(), reserved).erase(key);
            }
            match source {
                None => swap,
                Some(source) => {
                    let mut record = source.record.clone();
                    also(&mut record);
                    swap.expect(vdi_key(disk), Some(source))
                        .write(vdi_key(disk), &mut record)
                }
            }
        })
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
            let doing = format!("pausing VDI {vdi} for a snapshot");
            self.host.pause_disk(vdi).doing(&doing)?;
        }
        let taken = self.cluster.create_snapshot(&image.id, name);
        let taken = taken.doing(&format!("taking a snapshot of image {}", image.name));
        if paused {
            let doing = format!("letting VDI {vdi} go on after a snapshot");
            match (self.host.resume_disk(vdi).doing(&doing), &taken) {
                (Ok(()), _) => {}
                // Whether the snapshot may still be taken decides what is undone.
                (Err(resume), Err(_)) => log::warn!("VDI {vdi}: {resume}"),
                (Err(resume), Ok(_)) => return Err(resume),
            }
        }
        taken
    }

    /// As [`Repository::undo_after`]; a disk that may be paused goes on in any case.
    fn undo_snapshot_after(&self, error: Error, vdi: &Uuid, intent: &Stored<Intent>) -> Error {
        let undone = if error.is_outcome_unknown() {
            resume(self, vdi, intent).err().map(Err)
        } else {
            Some(undo(self, vdi, intent))
        };
        error.after_rollback(vdi, undone)
    }

    /// Refuses to make a VDI that is there, once nobody is about to make it.
    pub(crate) fn require_new(&self, vdi: &Uuid) -> Result<()> {
        match self.turn(vdi)?.vdi {
            None => Ok(()),
            Some(_) => Err(Error::VdiExists {
                sr: self.sr,
                vdi: *vdi,
            }),
        }
    }

    /// Refuses what would end in an image that no kernel can map. Returns how many parents the
    /// disk's image has, and its size. One that was flattened has none, whatever was recorded; one
    /// that was grown by hand is larger than its disk.
    pub(crate) fn require_short_chain(&self, source: &VdiRecord) -> Result<(u32, u64)> {
        let image = source.volume.image();
        let header = self.image_header(source)?;
        let depth = if header.has_parent { source.depth } else { 0 };
        if depth > MAX_DEPTH {
            return Err(Error::ChainTooLong {
                vdi: source.uuid,
                image: image.name.clone(),
                pool: self.cluster.pool_name().to_owned(),
                depth,
            });
        }
        if header.snapshots >= MAX_SNAPSHOTS {
            return Err(Error::TooManySnapshots {
                vdi: source.uuid,
                count: header.snapshots,
            });
        }
        Ok((depth, header.size))
    }

    /// Removes an image's snapshot of that name, where there is one.
    pub(crate) fn remove_snapshot_named(&self, image: &ImageRef, name: &str) -> Result<()> {
        let doing = format!("removing snapshot {name} of image {}", image.name);
        let snapshots = match self.cluster.users(&image.id) {
            Err(e) if e.is_not_found() => return Ok(()),
            other => other.doing(&doing)?.snapshots,
        };
        match snapshots.iter().find(|s| s.name == name && !s.removed) {
            None => Ok(()),
            Some(snapshot) => self.remove_snapshot(image, snapshot.id),
        }
    }

    /// Removes a snapshot of an image that may have another id now. Returns the image as it is.
    pub(crate) fn remove_snapshot_of_moved(
        &self,
        image: &ImageRef,
        snapshot: &SnapshotRef,
    ) -> Result<ImageRef> {
        match self.cluster.remove_snapshot(&image.id, snapshot.id) {
            Err(e) if e.is_not_found() => {}
            other => {
                let kept = |error| self.explain_kept_snapshot(image, snapshot.id, error);
                return other.map_err(kept).map(|()| image.clone());
            }
        }
        let Some(moved) = self.moved_to(image)? else {
            return Ok(image.clone());
        };
        self.remove_snapshot_named(&moved, &snapshot.name)?;
        Ok(moved)
    }

    /// Removes a snapshot; one that is not there was removed before.
    pub(crate) fn remove_snapshot(&self, image: &ImageRef, id: u64) -> Result<()> {
        match self.cluster.remove_snapshot(&image.id, id) {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.map_err(|error| self.explain_kept_snapshot(image, id, error)),
        }
    }
}

/// Takes back what a snapshot that did not finish has left, and lets the disk go on.
pub(crate) fn undo(repository: &Repository<'_>, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
    resume(repository, vdi, intent)?;
    if let Action::Snapshot {
        image,
        snapshot_name,
        ..
    } = &intent.record.action
    {
        repository.remove_snapshot_named(image, snapshot_name)?;
    }
    repository.finish(vdi, intent, None, |swap, _| swap)
}

fn resume(repository: &Repository<'_>, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
    if !matches!(intent.record.action, Action::Snapshot { paused: true, .. }) {
        return Ok(());
    }
    let doing = format!("letting VDI {vdi} go on after an unfinished snapshot");
    repository.host.resume_disk(vdi).doing(&doing)
}
