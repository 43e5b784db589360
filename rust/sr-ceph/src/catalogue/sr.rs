//! The SR's own record, and the operations that are under way in it.

use uuid::Uuid;

use super::{intent_key, Catalogue, Stored, INTENT_PREFIX, SR_KEY};
use crate::error::Result;
use crate::pool::{Entries, Transaction};
use crate::record::{newer, Intent, Record, SrRecord, Unreadable};

impl Catalogue<'_> {
    /// Sets or clears the mark that forbids creating anything. Returns the SR's record.
    pub(crate) fn mark_deleting(&self, deleting: bool) -> Result<Stored<SrRecord>> {
        loop {
            let stored = self.sr_record()?;
            if stored.record.deleting == deleting {
                return Ok(stored);
            }
            let mut record = stored.record.clone();
            record.deleting = deleting;
            // Read again also after a write: the record that is returned is the stored one.
            self.replace_sr_record(&stored, &mut record)?;
        }
    }

    /// Fails if a newer smblock has changed the format of the SR: it may have VDIs that this version does not find.
    pub(crate) fn refuse_newer(&self, entries: &Entries) -> Result<()> {
        match entries.get(SR_KEY).and_then(|value| newer(value)) {
            Some(newer) => Err(self.damaged(SR_KEY, Unreadable::Newer(newer))),
            None => Ok(()),
        }
    }

    /// Reads the SR's own record.
    pub(crate) fn sr_record(&self) -> Result<Stored<SrRecord>> {
        self.entry(&Uuid::nil()).map(|entry| entry.sr)
    }

    /// Writes the SR's record. Returns `false` if another process has changed it.
    pub(crate) fn replace_sr_record(
        &self,
        stored: &Stored<SrRecord>,
        record: &mut SrRecord,
    ) -> Result<bool> {
        let transaction = Transaction::default()
            .expect(SR_KEY.to_owned(), Some(stored))
            .put(SR_KEY.to_owned(), record.seal());
        self.commit(&format!("updating SR {}", self.sr), &transaction)
    }

    /// Returns the operations under way. An entry that cannot be read is logged and left out.
    pub(crate) fn intents(&self, entries: &Entries) -> Vec<(Uuid, Stored<Intent>)> {
        let mut intents = Vec::new();
        for (key, value) in entries.range(INTENT_PREFIX.to_owned()..) {
            let Some(vdi) = key.strip_prefix(INTENT_PREFIX) else {
                break;
            };
            match (vdi.parse(), Stored::parse(value.clone())) {
                (Ok(vdi), Ok(intent)) if intent_key(&vdi) == *key => intents.push((vdi, intent)),
                (_, Err(e)) => log::error!("SR {}: journal entry {key}: {e}", self.sr),
                _ => log::error!("SR {}: {key} is not a journal entry's key", self.sr),
            }
        }
        intents
    }
}
