//! Taking the snapshots of several disks of a VM at one instant.
//!
//! XAPI snapshots the disks of a VM one after the other. The first of these commands looks ahead:
//! 1. One transaction writes an intent for each disk of the VM that is in use in this SR. Each is the same as
//!    that of a single snapshot.
//! 2. All disks are paused, then all snapshots are taken, then all disks are resumed: each step for all disks
//!    at once.
//! 3. One transaction writes the record of the snapshot that was requested, adds a key `prepared.<disk>` for
//!    each other disk, and removes the intents.
//!
//! The later commands of the task adopt what is prepared (`vdi/prepared.rs`). What no command adopts is
//! removed when the task is over.
//!
//! Until step 3 XAPI has none of the new VDIs, so recovery undoes each intent, as that of a single snapshot.
//! After it, nothing is under way.
//!
//! **One instant.** A disk that is paused first has no write later than one of a disk that is paused last. So
//! each snapshot is taken while all disks are paused. A guard resumes a disk after 4 s (`guard.py`): if a disk
//! was resumed before step 2 ended, the snapshots are removed, and everything is tried once more.
//!
//! **A disk that fails** does not stop the others, because XAPI may not want its snapshot. Its key has the
//! reason. Its own command then fails, and takes no snapshot of a later instant. The disk that was requested
//! may not fail: everything is undone.
//!
//! **No deadlock.** A command waits for other operations only before step 1, when it has no intent. It waits
//! no longer for all disks than for one.

mod members;
mod take;

use sr::engine::Together;
use uuid::Uuid;

use self::members::{Group, Member};
use self::take::{failure, Taken};
use crate::catalogue::{intent_key, prepared_key, vdi_key, Entry, Stored, SR_KEY};
use crate::error::{Changed, Error, Result};
use crate::lease::LEASE_SECONDS;
use crate::pool::Transaction;
use crate::record::{
    Action, Intent, Prepared, PreparedRecord, Record, SnapshotRef, VdiRecord, Volume,
};
use crate::vdi::steps::new_snapshot;
use crate::CephSr;

const DOING: &str = "finishing the snapshots of a VM's disks";

impl CephSr<'_> {
    /// Takes the snapshots of a group: the first one is the VDI `new`, the others are prepared. `None`: a disk
    /// has changed, look again.
    pub(super) fn take_together(
        &self,
        entry: &Entry,
        group: &Group,
        new: &Uuid,
        together: &Together,
    ) -> Result<Option<VdiRecord>> {
        let members = group.members.as_slice();
        let Some(intents) = self.begin_together(entry, members)? else {
            return Ok(None);
        };
        let mut taken = self.take_all(members);
        // After `failure` the first one has no error any more.
        let is_resumed = taken.first().is_some_and(Taken::is_resumed);
        if let Some(error) = failure(members, &mut taken) {
            let all = members.iter().zip(&intents).zip(&taken);
            return Err(self.undo_together(error, is_resumed, all));
        }
        self.finish_together(group, &intents, taken, new, together)
            .map(Some)
    }

    /// Writes all intents. `None`: a disk has changed.
    fn begin_together(
        &self,
        entry: &Entry,
        members: &[Member],
    ) -> Result<Option<Vec<Stored<Intent>>>> {
        let doing = "recording the snapshots of a VM's disks";
        let mut transaction = Transaction::default().expect(SR_KEY.into(), Some(&entry.sr));
        let mut intents = Vec::with_capacity(members.len());
        for member in members {
            let action = Action::Snapshot {
                image: member.source.record.volume.image().clone(),
                snapshot_name: member.name.clone(),
                paused: true,
            };
            let intent = self.journal().new_intent(doing, action)?;
            transaction = transaction
                .expect(vdi_key(&member.vdi), Some(&member.source))
                .expect::<Intent>(intent_key(&member.vdi), None)
                .put(intent_key(&member.vdi), intent.bytes.clone());
            intents.push(intent);
        }
        let written = self.catalogue.commit(doing, &transaction)?;
        Ok(written.then_some(intents))
    }

    /// Removes all snapshots and intents. An intent whose outcome is unknown stays for recovery. `is_resumed`:
    /// whether the first disk runs. `error` is the first disk's.
    fn undo_together<'m>(
        &self,
        error: Error,
        is_resumed: bool,
        mut all: impl Iterator<Item = ((&'m Member, &'m Stored<Intent>), &'m Taken)>,
    ) -> Error {
        let Some(((first, intent), _)) = all.next() else {
            return error;
        };
        let undo = |member: &Member, intent: &Stored<Intent>, is_resumed: bool| match is_resumed {
            true => new_snapshot::undo_resumed(self, &member.vdi, intent),
            false => new_snapshot::undo(self, &member.vdi, intent),
        };
        let undone = match error.is_outcome_unknown() {
            // The disk is resumed in any case.
            true if !is_resumed => new_snapshot::resume(self, &first.vdi, intent)
                .err()
                .map(Err),
            true => None,
            false => Some(undo(first, intent, is_resumed)),
        };
        for ((member, intent), taken) in all.filter(|(_, taken)| !taken.is_unknown()) {
            if let Err(e) = undo(member, intent, taken.is_resumed()) {
                log::warn!(
                    "VDI {}: a later command undoes its snapshot: {e}",
                    member.vdi
                );
            }
        }
        error.after_rollback(&first.vdi, undone)
    }

    /// Writes what was taken, and removes the intents of all that is complete.
    fn finish_together(
        &self,
        group: &Group,
        intents: &[Stored<Intent>],
        taken: Vec<Taken>,
        new: &Uuid,
        together: &Together,
    ) -> Result<VdiRecord> {
        let members = &group.members;
        let mut results = Vec::with_capacity(members.len());
        for ((member, intent), taken) in members.iter().zip(intents).zip(taken) {
            results.push(self.settle(member, intent, taken));
        }
        let requested = members.first().zip(results.first());
        let Some((
            first,
            Settled {
                prepared:
                    Prepared::Taken {
                        image,
                        snapshot,
                        size,
                        depth,
                    },
                ..
            },
        )) = requested
        else {
            return Err(Changed::Catalogue {
                doing: DOING.to_owned(),
            }
            .into());
        };
        let volume = Volume::Snapshot {
            image: image.clone(),
            snapshot: snapshot.clone(),
        };
        let mut record = self.snapshot_of(&first.source.record, volume, *depth, new);
        record.size = *size;
        let bytes = record.seal();
        let pool = first.source.record.claim.as_ref();
        let pool = pool.and_then(|claim| claim.pool.clone());
        let key_of = |prepared: &Prepared| {
            PreparedRecord::new(&together.task, pool.clone(), prepared.clone()).seal()
        };
        let mut keys = Vec::new();
        for (member, result) in members.iter().zip(&results).skip(1) {
            keys.push((member.vdi, key_of(&result.prepared)));
        }
        for left_out in &group.left_out {
            let reason = left_out.reason.clone();
            keys.push((left_out.vdi, key_of(&Prepared::Failed { reason })));
        }
        let complete = members.iter().zip(intents).zip(&results);
        let complete = complete.filter(|(_, result)| result.is_complete);
        let complete: Vec<_> = complete.map(|(it, _)| it).collect();
        self.commit_together(&complete, &keys, (new, &bytes))?;
        self.has_prepared.set(!keys.is_empty());
        Ok(record)
    }

    fn commit_together(
        &self,
        complete: &[(&Member, &Stored<Intent>)],
        keys: &[(Uuid, Vec<u8>)],
        (new, bytes): (&Uuid, &[u8]),
    ) -> Result<()> {
        let vdis: Vec<Uuid> = complete.iter().map(|(member, _)| member.vdi).collect();
        let mut sources: Vec<_> = complete.iter().map(|(it, _)| it.source.clone()).collect();
        let mut keys = keys.to_vec();
        loop {
            let mut transaction = Transaction::default()
                .expect::<VdiRecord>(vdi_key(new), None)
                .put(vdi_key(new), bytes.to_vec());
            for ((member, intent), source) in complete.iter().zip(&sources) {
                let (key, vdi) = (intent_key(&member.vdi), vdi_key(&member.vdi));
                // The record is written too: a late request to begin must not find it as it was.
                transaction = transaction
                    .expect(key.clone(), Some(*intent))
                    .erase(key)
                    .expect(vdi.clone(), Some(source))
                    .write(vdi, &mut source.record.clone());
            }
            for (vdi, bytes) in &keys {
                let key = prepared_key(vdi);
                transaction = transaction
                    .expect::<PreparedRecord>(key.clone(), None)
                    .put(key, bytes.clone());
            }
            if self.catalogue.commit(DOING, &transaction)? {
                return Ok(());
            }
            let before: Vec<_> = sources.iter().map(|it| it.bytes.clone()).collect();
            sources = self.sources_again(&vdis, complete)?;
            let is_free = |(vdi, _): &(Uuid, Vec<u8>)| -> Result<bool> {
                Ok(self.catalogue.entry(vdi)?.prepared.is_none())
            };
            let count = keys.len();
            let mut free = Vec::new();
            for key in keys {
                if is_free(&key)? {
                    free.push(key);
                    continue;
                }
                // A command of another task has left the disk out meanwhile. Nothing would name the snapshot.
                if let Some((_, intent)) = complete.iter().find(|(it, _)| it.vdi == key.0) {
                    new_snapshot::remove(self, intent)?;
                }
            }
            keys = free;
            let is_same = sources.iter().map(|it| &it.bytes).eq(&before);
            if is_same && keys.len() == count {
                return Err(Changed::Catalogue {
                    doing: DOING.to_owned(),
                }
                .into());
            }
        }
    }

    /// Reads the records again. The intents must still be there.
    fn sources_again(
        &self,
        vdis: &[Uuid],
        complete: &[(&Member, &Stored<Intent>)],
    ) -> Result<Vec<Stored<VdiRecord>>> {
        let mut sources = Vec::with_capacity(vdis.len());
        for (entry, (member, intent)) in self.catalogue.entries(vdis)?.into_iter().zip(complete) {
            let entry = entry?;
            let found = entry.intent.as_ref();
            if found.is_none_or(|found| found.bytes != intent.bytes) {
                return Err(Changed::LeaseLost {
                    doing: DOING.to_owned(),
                    lease: LEASE_SECONDS,
                }
                .into());
            }
            sources.push(self.catalogue.present(&entry, &member.vdi)?.clone());
        }
        Ok(sources)
    }

    /// What is recorded about a member. What it may have left behind is removed.
    fn settle(&self, member: &Member, intent: &Stored<Intent>, taken: Taken) -> Settled {
        let is_unknown = taken.is_unknown();
        let (error, is_resumed) = match taken {
            Taken::Done { id, .. } => {
                let name = member.name.clone();
                return Settled {
                    prepared: Prepared::Taken {
                        image: member.source.record.volume.image().clone(),
                        snapshot: SnapshotRef { name, id },
                        size: member.size,
                        depth: member.depth,
                    },
                    is_complete: true,
                };
            }
            Taken::Skipped => ("no snapshot was tried".to_owned(), true),
            Taken::Failed { error, is_resumed } => (members::reason(&error), is_resumed),
        };
        let resumed = if is_resumed {
            Ok(())
        } else {
            new_snapshot::resume(self, &member.vdi, intent)
        };
        let cleaned = resumed.and_then(|()| match is_unknown {
            true => Ok(()),
            false => new_snapshot::remove(self, intent),
        });
        if let Err(e) = &cleaned {
            log::warn!(
                "VDI {}: a later command undoes its snapshot: {e}",
                member.vdi
            );
        }
        let is_complete = cleaned.is_ok() && !is_unknown;
        Settled {
            prepared: Prepared::Failed { reason: error },
            is_complete,
        }
    }
}

/// What is recorded about a member.
struct Settled {
    prepared: Prepared,
    /// Whether its intent is to be removed.
    is_complete: bool,
}
