//! Snapshots that a command has prepared for later commands of the same task (`vdi/together.rs`).
//!
//! **Adopting one**: one transaction replaces the key `prepared.<disk>` by the record of the new VDI.
//!
//! **Removing one**:
//! 1. One transaction marks it in its key. From now on no command can adopt it.
//! 2. The snapshot is removed.
//! 3. One transaction removes the key.
//!
//! After a stop, the next scan repeats steps 2 and 3: both are idempotent, since a snapshot's id is never used
//! again.
//!
//! A prepared snapshot is removed when its task is over, by the next scan or plug, or by the process that the
//! task's first command has started (`drivers/smblock/leftovers.py`). XAPI is asked for the task. If it does
//! not reply, or the task is that of another XAPI pool, the snapshot stays: the task may still need it. That
//! of another pool is removed when this host has seen it unchanged for [`FOREIGN_SECONDS`]. A deletion or a
//! revert of its disk removes it too.

use sr::engine::Together;
use uuid::Uuid;

use crate::catalogue::{
    prepared_key, vdi_key, with_prefix, Entry, Stored, PREPARED_PREFIX, SR_KEY,
};
use crate::error::{NotTogether, Result};
use crate::pool::{Entries, Transaction};
use crate::record::{Prepared, PreparedRecord, VdiRecord, Volume};
use crate::CephSr;

/// Longer than XAPI needs to snapshot a VM.
pub(crate) const FOREIGN_SECONDS: u64 = 60 * 60;

impl CephSr<'_> {
    /// Makes a VDI of the snapshot that an earlier command of the task has prepared. Its UUID is the snapshot's
    /// name, as that of every snapshot. `None`: no command has, and this one is the first, or the disk is not
    /// in use.
    ///
    /// # Errors
    /// The snapshot could not be taken at the instant of the others. Or the disk's snapshot `new` exists: this
    /// command was the first one, and is repeated.
    pub(super) fn adopt_prepared(
        &self,
        vdi: &Uuid,
        new: &Uuid,
        together: &Together,
    ) -> Result<Option<VdiRecord>> {
        if together.siblings.is_empty() {
            return Ok(None);
        }
        let mut vdis = vec![*vdi, *new];
        vdis.extend(&together.siblings);
        let is_of_task = |found: &Stored<PreparedRecord>| found.record.task == together.task;
        loop {
            let mut entries = self.catalogue.entries(&vdis)?.into_iter();
            let own = entries
                .next()
                .unwrap_or_else(|| self.catalogue.entry(vdi))?;
            let of_new = entries.next();
            let source = self.catalogue.present(&own, vdi)?;
            let found = self.prepared_in(vdi, &own)?;
            let Some(found) = found.filter(is_of_task) else {
                if matches!(of_new, Some(Ok(Entry { vdi: Some(_), .. }))) {
                    return Err(self.journal().already_exists(new));
                }
                let others = entries.filter_map(|entry| Stored::parse(entry.ok()?.prepared?).ok());
                if source.record.claim.is_some() && others.into_iter().any(|it| is_of_task(&it)) {
                    return Err(NotTogether::LeftOut { vdi: *vdi }.into());
                }
                return Ok(None);
            };
            let (image, snapshot, size, depth) = match found.record.prepared.clone() {
                Prepared::Taken {
                    image,
                    snapshot,
                    size,
                    depth,
                } => (image, snapshot, size, depth),
                Prepared::Removing { .. } => {
                    return Err(NotTogether::LeftOut { vdi: *vdi }.into());
                }
                Prepared::Failed { reason } => {
                    return Err(NotTogether::Failed { vdi: *vdi, reason }.into());
                }
            };
            let new: Uuid = snapshot.name.parse().unwrap_or(*new);
            let volume = Volume::Snapshot { image, snapshot };
            let mut record = self.snapshot_of(&source.record, volume, depth, &new);
            record.size = size;
            let transaction = Transaction::default()
                .expect(SR_KEY.into(), Some(&own.sr))
                .expect(vdi_key(vdi), Some(source))
                .expect(prepared_key(vdi), Some(&found))
                .erase(prepared_key(vdi))
                .expect::<VdiRecord>(vdi_key(&new), None)
                .write(vdi_key(&new), &mut record);
            let doing = format!("recording the snapshot {new}");
            if self.catalogue.commit(&doing, &transaction)? {
                return Ok(Some(record));
            }
            self.journal().require_new(&new)?;
        }
    }

    /// What is prepared for a disk.
    pub(super) fn prepared_in(
        &self,
        vdi: &Uuid,
        entry: &Entry,
    ) -> Result<Option<Stored<PreparedRecord>>> {
        let found = entry.prepared.clone().map(Stored::parse).transpose();
        found.map_err(|source| self.catalogue.damaged(&prepared_key(vdi), source))
    }

    /// Whether the task that a snapshot was prepared for has ended. `false` if that is unknown.
    pub(crate) fn is_task_over(&self, vdi: &Uuid, prepared: &PreparedRecord) -> bool {
        let own_pool = self.host.pool();
        let is_own = matches!((&own_pool, &prepared.pool), (Ok(own), Some(pool)) if own == pool);
        if !is_own {
            return self.journal().seen_for(&prepared_key(vdi), prepared) >= FOREIGN_SECONDS;
        }
        let over = self.host.is_task_over(&prepared.task);
        over.unwrap_or_else(|e| {
            log::warn!(
                "VDI {vdi}: its prepared snapshot stays: cannot ask XAPI about task {}: {e}",
                prepared.task
            );
            false
        })
    }

    /// Removes what is prepared for a disk, before an operation that makes it useless. A value that cannot be
    /// read does not stop the operation.
    pub(super) fn drop_prepared_of(&self, vdi: &Uuid, entry: &Entry) -> Result<()> {
        match self.prepared_in(vdi, entry) {
            Ok(Some(found)) => self.drop_one(vdi, &found),
            Ok(None) => Ok(()),
            Err(e) => {
                log::error!("{e}");
                Ok(())
            }
        }
    }

    /// Removes what is prepared, and not used. Does nothing if it is used, or changed, meanwhile.
    pub(super) fn drop_one(&self, vdi: &Uuid, found: &Stored<PreparedRecord>) -> Result<()> {
        let (key, doing) = (
            prepared_key(vdi),
            format!("removing the prepared snapshot of VDI {vdi}"),
        );
        let mut found = found.clone();
        if let Some((image, snapshot)) = found.record.prepared.snapshot() {
            let (image, snapshot) = (image.clone(), snapshot.clone());
            if let Prepared::Taken { .. } = found.record.prepared {
                let mut marked = found.record.clone();
                marked.prepared = Prepared::Removing {
                    image: image.clone(),
                    snapshot: snapshot.clone(),
                };
                let transaction = Transaction::default()
                    .expect(key.clone(), Some(&found))
                    .write(key.clone(), &mut marked);
                if !self.catalogue.commit(&doing, &transaction)? {
                    return Ok(());
                }
                let bytes = transaction.set[&key].clone();
                found = Stored {
                    bytes,
                    record: marked,
                };
            }
            self.images.remove_snapshot_of_moved(&image, &snapshot)?;
        }
        let transaction = Transaction::default()
            .expect(key.clone(), Some(&found))
            .erase(key);
        self.catalogue.commit(&doing, &transaction).map(drop)
    }

    /// Removes the prepared snapshots whose tasks are over. Returns whether there were any.
    pub(crate) fn drop_prepared_among(&self, entries: &Entries) -> Result<bool> {
        self.drop_those(entries, |vdi, found| {
            matches!(found.prepared, Prepared::Removing { .. }) || self.is_task_over(vdi, found)
        })
    }

    /// Removes all prepared snapshots: the SR is being deleted.
    pub(crate) fn drop_all_prepared(&self, entries: &Entries) -> Result<bool> {
        self.drop_those(entries, |_, _| true)
    }

    fn drop_those(
        &self,
        entries: &Entries,
        is_useless: impl Fn(&Uuid, &PreparedRecord) -> bool,
    ) -> Result<bool> {
        let (mut dropped, mut failed) = (false, None);
        for (vdi, found) in self.all_prepared(entries) {
            if !is_useless(&vdi, &found.record) {
                continue;
            }
            match self.drop_one(&vdi, &found) {
                // The next one would wait as long for a cluster that does not reply.
                Err(e) if e.is_outcome_unknown() => return Err(e),
                Err(e) => failed = Some(e),
                Ok(()) => dropped = true,
            }
        }
        failed.map_or(Ok(dropped), Err)
    }

    /// The prepared snapshots of an SR. One that cannot be read is logged and left out.
    pub(crate) fn all_prepared(&self, entries: &Entries) -> Vec<(Uuid, Stored<PreparedRecord>)> {
        let mut all = Vec::new();
        for (key, value) in with_prefix(entries, PREPARED_PREFIX) {
            let vdi = key[PREPARED_PREFIX.len()..].parse();
            match (vdi, Stored::parse(value.clone())) {
                (Ok(vdi), Ok(found)) => all.push((vdi, found)),
                (_, Err(e)) => log::error!("SR {}: {key}: {e}", self.sr),
                (Err(_), _) => log::error!("SR {}: {key} is not a disk's key", self.sr),
            }
        }
        all
    }

    /// Whether this process has prepared snapshots.
    pub fn has_prepared(&self) -> bool {
        self.has_prepared.get()
    }

    /// Removes the prepared snapshots whose tasks are over, and frees what they held.
    pub fn drop_prepared(&self) -> Result<()> {
        let entries = self.catalogue.read()?;
        if !self.drop_prepared_among(&entries)? {
            return Ok(());
        }
        let entries = self.catalogue.read()?;
        self.collect_garbage(&entries, || self.usage())
    }
}
