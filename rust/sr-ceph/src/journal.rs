//! The journal: who is about to do what to which VDI, written in the same atomic change as the
//! record it touches.
//!
//! There is at most one entry per VDI. It serialises operations on one VDI across all hosts, and
//! operations on different VDIs never wait for each other.
//!
//! The journal does not know what an operation does. What ends an operation that its owner left
//! unfinished is in `recovery.rs`, which the journal reaches through [`Recovery`].

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, Catalogue, Entry, Stored};
use crate::error::{Changed, Context, Error, Result};
use crate::host::Host;
use crate::lease::LEASE_SECONDS;
use crate::pool::{Pool, Transaction};
use crate::record::{Action, Intent, Record, VdiRecord};

/// How long the blocklist keeps the owner of an operation that was taken over. A process of this
/// driver lives for seconds.
pub(crate) const RECOVERY_BLOCKLIST_SECONDS: u32 = 60 * 60;

/// How long an operation waits for another one on the same VDI.
const WAIT_MILLISECONDS: u64 = 30_000;
const WAIT_POLL_MILLISECONDS: u64 = 50;

/// Ends the operations that their owners left unfinished.
pub(crate) trait Recovery {
    /// Whether the owner of an operation is gone, so that this process may take the operation over.
    /// May ask XAPI about the owner's host.
    fn may_recover(&self, vdi: &Uuid, intent: &Intent) -> bool;
    /// Takes an operation over, and finishes or undoes it.
    fn recover(&self, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()>;
}

/// The journal of one SR, as this process writes it.
#[derive(Clone, Copy)]
pub(crate) struct Journal<'a> {
    pub catalogue: Catalogue<'a>,
    pub pool: &'a dyn Pool,
    pub host: &'a dyn Host,
    pub recovery: &'a dyn Recovery,
}

impl Journal<'_> {
    /// Reads a VDI's entry once no operation on it is under way: waits for living owners, takes
    /// over from dead ones.
    pub(crate) fn acquire(&self, vdi: &Uuid) -> Result<Entry> {
        let mut waited = 0;
        loop {
            let entry = self.catalogue.entry(vdi)?;
            let Some(intent) = &entry.intent else {
                return Ok(entry);
            };
            // Another host is judged once: that asks XAPI.
            let gone = if waited == 0 {
                self.recovery.may_recover(vdi, &intent.record)
            } else {
                self.host.is_gone(&intent.record.owner) || self.is_lease_over(vdi, &intent.record)
            };
            if gone {
                self.recovery.recover(vdi, intent)?;
            } else if waited >= WAIT_MILLISECONDS {
                return Err(Error::VdiBusy {
                    vdi: *vdi,
                    what: intent.record.action.describe(),
                    host: intent.record.owner.host.clone(),
                    pid: intent.record.owner.pid,
                });
            } else {
                self.host.pause(WAIT_POLL_MILLISECONDS);
                waited += WAIT_POLL_MILLISECONDS;
            }
        }
    }

    /// Refuses to make a VDI that is there, once nobody is about to make it.
    pub(crate) fn require_new(&self, vdi: &Uuid) -> Result<()> {
        match self.acquire(vdi)?.vdi {
            None => Ok(()),
            Some(_) => Err(Error::VdiExists {
                sr: self.catalogue.sr(),
                vdi: *vdi,
            }),
        }
    }

    /// Writes the intent, together with the record's change that `also` adds to the same swap.
    /// `None`: somebody else changed the VDI meanwhile; read it again.
    pub(crate) fn begin(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        action: Action,
        also: impl FnOnce(Transaction) -> Transaction,
    ) -> Result<Option<Stored<Intent>>> {
        let doing = format!("writing down the {} {vdi}", action.describe());
        let intent = self.intend(&doing, action)?;
        let transaction = Transaction::default()
            .expect(crate::catalogue::SR_KEY.into(), Some(&entry.sr))
            .expect(vdi_key(vdi), entry.vdi.as_ref())
            .expect::<Intent>(intent_key(vdi), None)
            .put(intent_key(vdi), intent.bytes.clone());
        let written = self.catalogue.commit(&doing, &also(transaction))?;
        Ok(written.then_some(intent))
    }

    /// An intent of this process, which is yet to be written.
    pub(crate) fn intend(&self, doing: &str, action: Action) -> Result<Stored<Intent>> {
        let address = self.pool.address().doing(doing)?;
        let lease = self.host.now() + LEASE_SECONDS;
        let mut record = Intent::new(self.host.owner().clone(), address, lease, action);
        let bytes = record.seal();
        Ok(Stored { bytes, record })
    }

    /// Removes the intent, together with the change that `also` makes of the VDI's record as it
    /// stands. The operation is over when this is applied, and not before.
    ///
    /// `record` is what was read last; where somebody wrote to the record meanwhile (a new name,
    /// a claim), it is read again.
    pub(crate) fn finish(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        mut record: Option<Stored<VdiRecord>>,
        also: impl Fn(Transaction, Option<&Stored<VdiRecord>>) -> Transaction,
    ) -> Result<()> {
        let doing = format!("finishing the {} {vdi}", intent.record.action.describe());
        loop {
            let transaction = Transaction::default()
                .expect(intent_key(vdi), Some(intent))
                .erase(intent_key(vdi));
            if self
                .catalogue
                .commit(&doing, &also(transaction, record.as_ref()))?
            {
                return Ok(());
            }
            let entry = self.entry_under(vdi, intent, &doing)?;
            let unchanged = |now: &Option<Stored<VdiRecord>>| {
                now.as_ref().map(|s| &s.bytes) == record.as_ref().map(|s| &s.bytes)
            };
            if unchanged(&entry.vdi) {
                return Err(Changed::Catalogue { doing }.into());
            }
            record = entry.vdi;
        }
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
        self.finish(disk, intent, Some(source.clone()), |transaction, source| {
            let mut transaction = transaction
                .expect::<VdiRecord>(vdi_key(new), None)
                .put(vdi_key(new), bytes.to_vec());
            if reserved.is_some() {
                let key = intent_key(new);
                transaction = transaction.expect(key.clone(), reserved).erase(key);
            }
            match source {
                None => transaction,
                Some(source) => {
                    let mut record = source.record.clone();
                    also(&mut record);
                    transaction
                        .expect(vdi_key(disk), Some(source))
                        .write(vdi_key(disk), &mut record)
                }
            }
        })
    }

    /// Replaces an intent by what is left to do once the VDI's record, now `found`, has become
    /// `record`: both in one swap. `None`: the record has changed since it was read.
    pub(crate) fn proceed(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        found: &Stored<VdiRecord>,
        record: &mut VdiRecord,
        next: Action,
    ) -> Result<Option<Stored<Intent>>> {
        let doing = format!(
            "going on with the {} {vdi}",
            intent.record.action.describe()
        );
        let mut intended = intent.record.clone();
        intended.action = next;
        let transaction = Transaction::default()
            .expect(intent_key(vdi), Some(intent))
            .expect(vdi_key(vdi), Some(found))
            .write(vdi_key(vdi), record)
            .write(intent_key(vdi), &mut intended);
        let bytes = transaction.set[&intent_key(vdi)].clone();
        let written = self.catalogue.commit(&doing, &transaction)?;
        Ok(written.then_some(Stored {
            bytes,
            record: intended,
        }))
    }

    /// The VDI's entry, which must still hold this process's intent.
    pub(crate) fn entry_under(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        doing: &str,
    ) -> Result<Entry> {
        let entry = self.catalogue.entry(vdi)?;
        let found = entry.intent.as_ref();
        if found.is_some_and(|found| found.bytes == intent.bytes) {
            return Ok(entry);
        }
        Err(Changed::LeaseLost {
            doing: doing.to_owned(),
            lease: LEASE_SECONDS,
        }
        .into())
    }

    /// Whether this host has seen an entry unchanged for so long that its owner counts as gone.
    pub(crate) fn is_lease_over(&self, vdi: &Uuid, intent: &Intent) -> bool {
        self.seen_for(&intent_key(vdi), intent) >= LEASE_SECONDS
    }

    /// For how many seconds this host has seen a record of the catalogue unchanged: 0 if that cannot
    /// be found out.
    pub(crate) fn seen_for(&self, key: &str, record: &impl Record) -> u64 {
        let key = format!("{}.{key}", self.catalogue.sr());
        let seen = self.host.seen_for(&key, &record.nonce().to_string());
        seen.unwrap_or_else(|e| {
            log::warn!("cannot tell for how long {key} is unchanged: {e}");
            0
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::catalogue::SR_KEY;
    use crate::memory::{MemoryHost, MemoryPool, Sim};
    use crate::pool::Entries;
    use crate::record::SrRecord;

    /// A process of the driver, without any operation.
    struct Process {
        pool: MemoryPool,
        host: MemoryHost,
        sr: Uuid,
        /// Whether owners count as gone.
        gone: bool,
        recovered: RefCell<Vec<Uuid>>,
    }

    impl Process {
        fn new(sim: &Sim, host: &str, sr: Uuid, gone: bool) -> Self {
            Process {
                pool: sim.client(),
                host: sim.process(host),
                sr,
                gone,
                recovered: RefCell::default(),
            }
        }

        fn journal(&self) -> Journal<'_> {
            Journal {
                catalogue: Catalogue::new(&self.pool, self.sr),
                pool: &self.pool,
                host: &self.host,
                recovery: self,
            }
        }

        fn begin(&self, vdi: &Uuid) -> Option<Stored<Intent>> {
            let journal = self.journal();
            let entry = journal.catalogue.entry(vdi).unwrap();
            let image_name = "image".to_owned();
            let action = Action::CreateDisk { image_name };
            journal
                .begin(vdi, &entry, action, |transaction| transaction)
                .unwrap()
        }
    }

    impl Recovery for Process {
        fn may_recover(&self, _: &Uuid, _: &Intent) -> bool {
            self.gone
        }

        fn recover(&self, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
            self.recovered.borrow_mut().push(*vdi);
            self.journal()
                .finish(vdi, intent, None, |transaction, _| transaction)
        }
    }

    fn sr(sim: &Sim) -> Uuid {
        let uuid = Uuid::new_v4();
        let process = Process::new(sim, "host-a", uuid, false);
        let record = SrRecord::new(uuid, "ceph", "", 0).seal();
        let object = process.journal().catalogue.object();
        let entries = Entries::from([(SR_KEY.to_owned(), record)]);
        process.pool.create_object(&object, &entries).unwrap();
        uuid
    }

    #[test]
    fn acquire_waits_for_a_living_owner_and_names_it() {
        let (sim, vdi) = (Sim::new(), Uuid::new_v4());
        let sr = sr(&sim);
        let owner = Process::new(&sim, "host-a", sr, false);
        owner.begin(&vdi).unwrap();
        let other = Process::new(&sim, "host-b", sr, false);
        let before = other.host.now();
        let error = other.journal().acquire(&vdi).unwrap_err();
        assert!(
            matches!(&error, Error::VdiBusy { host, .. } if host == "host-a"),
            "{error}"
        );
        assert_eq!(
            other.host.now() - before,
            super::WAIT_MILLISECONDS / 1000,
            "seconds"
        );
        assert!(other.recovered.borrow().is_empty());
    }

    #[test]
    fn acquire_recovers_what_a_gone_owner_left() {
        let (sim, vdi) = (Sim::new(), Uuid::new_v4());
        let sr = sr(&sim);
        Process::new(&sim, "host-a", sr, false).begin(&vdi).unwrap();
        let other = Process::new(&sim, "host-b", sr, true);
        let entry = other.journal().acquire(&vdi).unwrap();
        assert!(entry.intent.is_none());
        assert_eq!(*other.recovered.borrow(), [vdi]);
    }

    #[test]
    fn a_vdi_has_one_intent_until_it_is_finished() {
        let (sim, vdi) = (Sim::new(), Uuid::new_v4());
        let sr = sr(&sim);
        let owner = Process::new(&sim, "host-a", sr, false);
        let intent = owner.begin(&vdi).unwrap();
        assert!(owner.begin(&vdi).is_none());
        let journal = owner.journal();
        journal
            .finish(&vdi, &intent, None, |transaction, _| transaction)
            .unwrap();
        assert!(owner.begin(&vdi).is_some());
        let late = journal.finish(&vdi, &intent, None, |transaction, _| transaction);
        assert!(late.is_err(), "another intent has taken its place");
    }
}
