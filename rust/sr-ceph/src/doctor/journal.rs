//! Unfinished operations.

use std::collections::BTreeSet;

use sr::finding::table;

use super::look::Doctor;
use crate::error::Result;
use crate::host::Membership;
use crate::lease::LEASE_SECONDS;
use crate::record::HostRecord;

/// Seconds after the end of its lease: no operation takes so long, also if the clocks of two hosts differ.
pub(super) const STUCK_SECONDS: u64 = 15 * 60;

impl Doctor<'_, '_> {
    pub(super) fn look_at_journal(&mut self) -> Result<()> {
        let me = &self.sr.host.owner().host;
        let owners = self
            .intents
            .iter()
            .map(|(_, i)| i.record.owner.host.as_str());
        let others: BTreeSet<_> = owners.filter(|host| host != me).collect();
        let known = self.memberships(others)?;
        let mut found = Vec::new();
        for (vdi, intent) in &self.intents {
            let (intent, owner) = (&intent.record, &intent.record.owner);
            let began = intent.lease_until.saturating_sub(LEASE_SECONDS);
            let what = intent.action.describe();
            let who = format!("process {} of host {}", owner.pid, owner.host);
            let record: Option<HostRecord> = self.host_record(&owner.host);
            let over = record.is_some_and(|r| {
                let life = r.life;
                r.is_over(&owner.boot_id, life) || r.death_of(&owner.boot_id, life).is_some()
            });
            let gone = match known.get(&owner.host) {
                None => self.sr.host.is_gone(owner),
                Some(membership) => over || *membership != Membership::Member,
            };
            let object = self.name_of(vdi);
            if gone {
                let text = format!("the {what} was left unfinished by {who}, which is gone");
                let finding = table::LEFT_OVER.found(object, text, self.scan_or_repair());
                found.push(finding.since(began));
            } else if self.sr.host.now() > intent.lease_until + STUCK_SECONDS {
                let text = format!("the {what} by {who} has not ended");
                let fix = format!(
                    "see that process in /var/log/SMlog of the host; once it is gone: {}",
                    self.scan_or_repair()
                );
                found.push(table::STUCK.found(object, text, fix).since(began));
            }
        }
        self.found.extend(found);
        self.look_at_prepared();
        Ok(())
    }

    /// Prepared snapshots whose tasks are over. Those of running tasks are about to be used.
    fn look_at_prepared(&mut self) {
        for (vdi, prepared) in self.sr.all_prepared(&self.entries) {
            if !self.sr.is_task_over(&vdi, &prepared.record) {
                continue;
            }
            let task = &prepared.record.task;
            let text = match prepared.record.prepared.snapshot() {
                Some((image, snapshot)) => {
                    let path = self.sr.images.snapshot_path(&image.name, &snapshot.name);
                    format!("{path} was taken for the task {task}, which has ended without it")
                }
                None => format!("a note about a snapshot for the task {task}, which has ended"),
            };
            let object = self.name_of(&vdi);
            let found = table::UNUSED_SNAPSHOT.found(object, text, self.scan_or_repair());
            self.found.push(found);
        }
    }
}
