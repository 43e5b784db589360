//! The journal: who is about to do what to which VDI, written in the same atomic change as the
//! record it touches, and how an operation that nobody finished is taken over.
//!
//! There is at most one entry per VDI. It serialises operations on one VDI across all hosts, and
//! operations on different VDIs never wait for each other.
//!
//! **Taking over.** An entry names its owner. Another process may act only if the owner is known to
//! be gone: a process of this host that does not run any more, or a process of a host that is dead
//! (`fence.rs`); or if this host has seen the entry unchanged for [`LEASE_SECONDS`], by a clock of its
//! own that is never set. Clocks of different hosts are never compared: they differ by minutes, and
//! jump. Before it acts, it puts the *owner's* address on the cluster's blocklist. Without that, an
//! owner that was merely slow could wake up and go on with stale knowledge, and requests it has sent
//! could still be applied; and a dead client's lock and watch would hold up the next operation on
//! the image for 10 to 30 s. A wrong guess costs the owner its operation, and never any data.

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, Entry, Stored};
use crate::cluster::Swap;
use crate::error::{Changed, Context, Error, Result};
use crate::record::{Action, Intent, Record, VdiRecord};
use crate::{vdi, Repository};

/// How long a host must have seen an entry unchanged before it may take the operation over. Longer
/// than the deadlines of all its calls together in the usual case.
pub const LEASE_SECONDS: u64 = 120;

/// How long the blocklist keeps the owner of an operation that was taken over. A process of this
/// driver lives for seconds.
pub(crate) const TAKE_OVER_SECONDS: u32 = 60 * 60;

/// How long an operation waits for another one on the same VDI.
const TURN_MILLISECONDS: u64 = 30_000;
const TURN_POLL_MILLISECONDS: u64 = 50;

impl Repository<'_> {
    /// Reads a VDI's entry once no operation on it is under way: waits for living owners, takes
    /// over from dead ones.
    pub(crate) fn turn(&self, vdi: &Uuid) -> Result<Entry> {
        let mut waited = 0;
        loop {
            let entry = self.entry(vdi)?;
            let Some(intent) = &entry.intent else {
                return Ok(entry);
            };
            // Another host is judged once: that asks XAPI.
            let gone = if waited == 0 {
                self.may_take_over(vdi, &intent.record)
            } else {
                self.host.is_gone(&intent.record.owner) || self.is_lease_over(vdi, &intent.record)
            };
            if gone {
                self.take_over(vdi, intent)?;
            } else if waited >= TURN_MILLISECONDS {
                return Err(Error::VdiBusy {
                    vdi: *vdi,
                    what: intent.record.action.describe(),
                    host: intent.record.owner.host.clone(),
                    pid: intent.record.owner.pid,
                });
            } else {
                self.host.pause(TURN_POLL_MILLISECONDS);
                waited += TURN_POLL_MILLISECONDS;
            }
        }
    }

    /// Writes the intent, together with the record's change that `also` adds to the same swap.
    /// `None`: somebody else changed the VDI meanwhile; read it again.
    pub(crate) fn begin(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        action: Action,
        also: impl FnOnce(Swap) -> Swap,
    ) -> Result<Option<Stored<Intent>>> {
        let doing = format!("writing down the {} {vdi}", action.describe());
        let intent = self.intend(&doing, action)?;
        let swap = Swap::default()
            .expect(crate::catalogue::SR_KEY.into(), Some(&entry.sr))
            .expect(vdi_key(vdi), entry.vdi.as_ref())
            .expect::<Intent>(intent_key(vdi), None)
            .put(intent_key(vdi), intent.bytes.clone());
        let written = self.commit(&doing, &also(swap))?;
        Ok(written.then_some(intent))
    }

    /// An intent of this process, which is yet to be written.
    pub(crate) fn intend(&self, doing: &str, action: Action) -> Result<Stored<Intent>> {
        let address = self.cluster.address().doing(doing)?;
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
        also: impl Fn(Swap, Option<&Stored<VdiRecord>>) -> Swap,
    ) -> Result<()> {
        let doing = format!("finishing the {} {vdi}", intent.record.action.describe());
        loop {
            let swap = Swap::default()
                .expect(intent_key(vdi), Some(intent))
                .erase(intent_key(vdi));
            if self.commit(&doing, &also(swap, record.as_ref()))? {
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
        let swap = Swap::default()
            .expect(intent_key(vdi), Some(intent))
            .expect(vdi_key(vdi), Some(found))
            .write(vdi_key(vdi), record)
            .write(intent_key(vdi), &mut intended);
        let bytes = swap.set[&intent_key(vdi)].clone();
        let written = self.commit(&doing, &swap)?;
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
        let entry = self.entry(vdi)?;
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

    /// Finishes or undoes every operation that its owner left behind. Those of living owners are
    /// left to them. One that cannot be recovered now keeps nobody from the other VDIs of the SR:
    /// whoever comes next tries again.
    pub(crate) fn recover(&self, intents: Vec<(Uuid, Stored<Intent>)>) -> Result<usize> {
        let mut recovered = 0;
        for (vdi, intent) in intents {
            if !self.may_take_over(&vdi, &intent.record) {
                continue;
            }
            recovered += 1;
            match self.take_over(&vdi, &intent) {
                // The next one would wait as long for a cluster that does not answer.
                Err(e) if e.is_outcome_unknown() => return Err(e),
                Err(e) => log::error!("VDI {vdi}: what was left unfinished stays so for now: {e}"),
                Ok(()) => {}
            }
        }
        Ok(recovered)
    }

    fn may_take_over(&self, vdi: &Uuid, intent: &Intent) -> bool {
        self.is_lease_over(vdi, intent) || self.is_dead(&intent.owner)
    }

    fn is_lease_over(&self, vdi: &Uuid, intent: &Intent) -> bool {
        self.seen_for(&intent_key(vdi), intent) >= LEASE_SECONDS
    }

    /// For how many seconds this host has seen a record of the catalogue unchanged: 0 if that cannot
    /// be found out.
    pub(crate) fn seen_for(&self, key: &str, record: &impl Record) -> u64 {
        let key = format!("{}.{key}", self.sr);
        let seen = self.host.seen_for(&key, &record.nonce().to_string());
        seen.unwrap_or_else(|e| {
            log::warn!("cannot tell for how long {key} is unchanged: {e}");
            0
        })
    }

    fn take_over(&self, vdi: &Uuid, found: &Stored<Intent>) -> Result<()> {
        let left = &found.record;
        let what = left.action.describe();
        let doing = format!("taking over the {what} {vdi}");
        log::warn!(
            "{doing}: process {} on host {} left it unfinished",
            left.owner.pid,
            left.owner.host
        );
        let address = self.cluster.address().doing(&doing)?;
        if left.address != address {
            let cut_off = self.cluster.blocklist(&left.address, TAKE_OVER_SECONDS);
            cut_off.doing(&doing)?;
        }
        let mine = self.intend(&doing, left.action.clone())?;
        let swap = Swap::default()
            .expect(intent_key(vdi), Some(found))
            .put(intent_key(vdi), mine.bytes.clone());
        if !self.commit(&doing, &swap)? {
            return Ok(()); // somebody else was faster
        }
        self.complete(vdi, &mine)
    }

    /// Brings an operation that stopped after any of its steps to one of its two ends.
    fn complete(&self, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
        match &intent.record.action {
            // Until a revert has repointed its disk, it has only made an image.
            Action::CreateDisk { image_name } | Action::Revert { image_name } => {
                vdi::create::undo(self, vdi, intent, image_name)
            }
            Action::Snapshot { .. } => vdi::snapshot::undo(self, vdi, intent),
            Action::CloneDisk { .. } => vdi::clone::undo(self, vdi, intent),
            Action::DeleteDisk { .. } | Action::DeleteSnapshot { .. } => {
                vdi::delete::complete(self, vdi, intent)
            }
            Action::Grow { image, .. } => vdi::resize::complete(self, vdi, intent, image),
        }
    }
}
