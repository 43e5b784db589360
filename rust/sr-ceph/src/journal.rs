//! The journal: which process is about to do what to which VDI. An entry is written in the same atomic change
//! as the record that it concerns.
//!
//! There is at most one entry per VDI. It serialises operations on one VDI across all hosts. Operations on
//! different VDIs never wait for each other.
//!
//! The journal contains no operation. `recovery.rs` ends what an owner left unfinished; the journal reaches
//! it through [`Recovery`].

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, Catalogue, Entry, Stored};
use crate::error::{Changed, Context, Error, Result};
use crate::host::Host;
use crate::lease::LEASE_SECONDS;
use crate::pool::{Pool, Transaction};
use crate::record::{Action, Intent, Record, VdiRecord};

/// How long the blocklist keeps the owner of a recovered operation, in seconds. A process of this driver
/// lives for seconds.
pub(crate) const RECOVERY_BLOCKLIST_SECONDS: u32 = 60 * 60;

/// How long an operation waits for another one on the same VDI.
const WAIT_MILLISECONDS: u64 = 30_000;
const WAIT_POLL_MILLISECONDS: u64 = 50;

/// Ends the operations that their owners left unfinished.
pub(crate) trait Recovery {
    /// Whether the owner of an operation is gone, so that this process may take the operation over.
    /// May ask XAPI about the owner's host.
    fn may_recover(&self, vdi: &Uuid, intent: &Intent) -> bool;
    /// Recovers an operation: finishes or undoes it.
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
    /// Reads a VDI's entry when no operation on it is under way. Waits for living owners, and recovers the
    /// operations of dead ones.
    pub(crate) fn acquire(&self, vdi: &Uuid) -> Result<Entry> {
        let mut waited = 0;
        loop {
            let entry = self.catalogue.entry(vdi)?;
            let Some(intent) = &entry.intent else {
                return Ok(entry);
            };
            // Another host is judged only once: that asks XAPI.
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
                self.host.sleep(WAIT_POLL_MILLISECONDS);
                waited += WAIT_POLL_MILLISECONDS;
            }
        }
    }

    /// Refuses to make a VDI that exists, after waiting for a process that is making it.
    pub(crate) fn require_new(&self, vdi: &Uuid) -> Result<()> {
        match self.acquire(vdi)?.vdi {
            None => Ok(()),
            Some(_) => Err(self.already_exists(vdi)),
        }
    }

    pub(crate) fn already_exists(&self, vdi: &Uuid) -> Error {
        Error::VdiExists {
            sr: self.catalogue.sr(),
            vdi: *vdi,
        }
    }

    /// Writes the intent, and in the same swap the change of the record that `also` adds. Returns `None` if
    /// another process has changed the VDI: read it again.
    pub(crate) fn begin(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        action: Action,
        also: impl FnOnce(Transaction) -> Transaction,
    ) -> Result<Option<Stored<Intent>>> {
        let doing = format!("recording the {} {vdi}", action.describe());
        let intent = self.new_intent(&doing, action)?;
        let transaction = Transaction::default()
            .expect(crate::catalogue::SR_KEY.into(), Some(&entry.sr))
            .expect(vdi_key(vdi), entry.vdi.as_ref())
            .expect::<Intent>(intent_key(vdi), None)
            .put(intent_key(vdi), intent.bytes.clone());
        let written = self.catalogue.commit(&doing, &also(transaction))?;
        Ok(written.then_some(intent))
    }

    /// Returns an intent of this process, which is not written yet.
    pub(crate) fn new_intent(&self, doing: &str, action: Action) -> Result<Stored<Intent>> {
        let address = self.pool.address().doing(doing)?;
        let lease = self.host.now() + LEASE_SECONDS;
        let mut record = Intent::new(self.host.owner().clone(), address, lease, action);
        let bytes = record.seal();
        Ok(Stored { bytes, record })
    }

    /// Removes the intent, and in the same swap changes the VDI's record as `also` does. The operation ends
    /// when this swap is applied.
    ///
    /// `record` is what was read last. If another process has written to the record meanwhile (a new name, a
    /// claim), it is read again.
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
            let entry = self.entry_with_intent(vdi, intent, &doing)?;
            let unchanged = |now: &Option<Stored<VdiRecord>>| {
                now.as_ref().map(|s| &s.bytes) == record.as_ref().map(|s| &s.bytes)
            };
            if unchanged(&entry.vdi) {
                return Err(Changed::Catalogue { doing }.into());
            }
            record = entry.vdi;
        }
    }

    /// Writes a new VDI's record, and removes the intent at the disk that it was made from. The disk's record
    /// is written too, with the change that `also` makes: a late request to begin must not find it as it was.
    /// `reserved` is the intent at the new VDI, if there is one.
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

    /// Replaces an intent by the intent for what is left to do, and the VDI's record `found` by `record`, in
    /// one swap, with the change that `also` adds. Returns `None` if the record has changed since it was read.
    pub(crate) fn replace_intent(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        found: &Stored<VdiRecord>,
        record: &mut VdiRecord,
        next: Action,
        also: impl FnOnce(Transaction) -> Transaction,
    ) -> Result<Option<Stored<Intent>>> {
        let doing = format!("continuing the {} {vdi}", intent.record.action.describe());
        let mut intended = intent.record.clone();
        intended.action = next;
        let transaction = Transaction::default()
            .expect(intent_key(vdi), Some(intent))
            .expect(vdi_key(vdi), Some(found))
            .write(vdi_key(vdi), record)
            .write(intent_key(vdi), &mut intended);
        let transaction = also(transaction);
        let bytes = transaction.set[&intent_key(vdi)].clone();
        let written = self.catalogue.commit(&doing, &transaction)?;
        Ok(written.then_some(Stored {
            bytes,
            record: intended,
        }))
    }

    /// Returns the VDI's entry, which must still hold this process's intent.
    pub(crate) fn entry_with_intent(
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

    /// Whether this host has seen an entry unchanged for longer than the lease.
    pub(crate) fn is_lease_over(&self, vdi: &Uuid, intent: &Intent) -> bool {
        self.seen_for(&intent_key(vdi), intent) >= LEASE_SECONDS
    }

    /// For how many seconds this host has seen a record of the catalogue unchanged: 0 if that is unknown.
    pub(crate) fn seen_for(&self, key: &str, record: &impl Record) -> u64 {
        let key = format!("{}.{key}", self.catalogue.sr());
        let seen = self.host.seen_for(&key, &record.nonce().to_string());
        seen.unwrap_or_else(|e| {
            log::warn!("cannot find out for how long {key} is unchanged: {e}");
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
