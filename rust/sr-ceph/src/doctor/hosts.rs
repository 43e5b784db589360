//! Claims, fencing, and this host's devices.

use std::collections::BTreeSet;

use sr::finding::{table, Finding};

use super::look::Doctor;
use crate::blocklist::is_cut_off;
use crate::catalogue::host_key;
use crate::error::{Context, Result};
use crate::ha::is_for_ha;
use crate::host::{Mapped, Membership};
use crate::record::{Claim, HostRecord, Record, VdiRecord};

impl Doctor<'_, '_> {
    pub(super) fn look_at_hosts(&mut self) -> Result<()> {
        let me = &self.sr.host.owner().host;
        let claims = self.vdis.iter().filter_map(|record| record.claim.as_ref());
        let owners = claims.map(|claim| claim.owner.host.as_str());
        let others: BTreeSet<_> = owners.filter(|host| host != me).collect();
        let known = self.memberships(others)?;
        let mut found = Vec::new();
        for record in &self.vdis {
            let Some(claim) = &record.claim else {
                continue;
            };
            found.extend(match known.get(&claim.owner.host) {
                None => self.own_claim(record, claim)?,
                Some(membership) => self.foreign_claim(record, claim, *membership),
            });
        }
        found.extend(self.own_death());
        found.extend(self.stale_devices());
        found.extend(self.fenced_devices()?);
        self.found.extend(found);
        Ok(())
    }

    fn own_claim(&self, record: &VdiRecord, claim: &Claim) -> Result<Option<Finding>> {
        let owner = &claim.owner;
        let object = self.name_of(&record.uuid);
        let sr = self.sr.sr;
        let fix = format!("smblock doctor {sr} --repair");
        if owner.boot_id != self.sr.host.owner().boot_id {
            let text = "this host claimed it in an earlier boot";
            let found = table::CLAIM_OF_EARLIER_BOOT.found(object, text, fix);
            return Ok(Some(found.since(claim.since)));
        }
        if !self.sr.host.is_gone(owner) || self.sr.devices.is_mapped(record)? {
            return Ok(None);
        }
        let text = format!("process {} of this host claimed it, and is gone", owner.pid);
        let found = table::CLAIM_WITHOUT_DEVICE.found(object, text, fix);
        Ok(Some(found.since(claim.since)))
    }

    fn foreign_claim(
        &self,
        record: &VdiRecord,
        claim: &Claim,
        membership: Membership,
    ) -> Option<Finding> {
        let (owner, vdi, sr) = (&claim.owner, &record.uuid, self.sr.sr);
        let object = self.name_of(vdi);
        let host = &owner.host;
        let declared = self.host_record(host);
        let death =
            declared.and_then(|r| Some(r.death_of(&owner.boot_id, claim.life)?.reason.clone()));
        let death = death.or((membership == Membership::DeclaredDead).then(|| "XAPI".to_owned()));
        if let Some(reason) = death {
            let text = format!("host {host} has claimed it, and was declared dead ({reason})");
            let fix = "start its VM on another host, which takes it over";
            let found = table::CLAIM_OF_DEAD.found(object, text, fix);
            return Some(found.since(claim.since));
        }
        if membership != Membership::Unknown {
            return None;
        }
        let text = format!("host {host} has claimed it, and this pool has no such host");
        let fix = format!(
            "if that host is off for certain: smblock fence {sr} --host {host} --yes, or: \
             smblock release {sr} --vdi {vdi} --yes"
        );
        let found = table::CLAIM_OF_UNKNOWN.found(object, text, fix);
        Some(found.since(claim.since))
    }

    /// What the catalogue has about a host, if that can be read.
    pub(super) fn host_record(&self, host: &str) -> Option<HostRecord> {
        let value = self.entries.get(&host_key(host))?;
        HostRecord::parse(value).ok()
    }

    fn own_death(&self) -> Option<Finding> {
        let me = self.sr.host.owner();
        let record = self.host_record(&me.host)?;
        let death = record.death_of(&me.boot_id, record.life)?;
        let text = format!("it was declared dead ({}), and runs", death.reason);
        let fix = "shut down its VMs with disks of the SR and start them again, or reboot it";
        let found = table::DECLARED_DEAD.found(format!("host {}", me.host), text, fix);
        Some(found.since(death.at))
    }

    fn stale_devices(&self) -> Vec<Finding> {
        let stale = self.devices.iter().filter(|device| !self.is_used(device));
        let stale = stale.map(|device| {
            let path = device.device.display();
            let text = format!(
                "it shows image {}, and no VDI that this host uses",
                device.image_name
            );
            let fix = format!(
                "if no process has it open (fuser {path}): smblock doctor {} --repair",
                self.sr.sr
            );
            table::STALE_DEVICE.found(format!("device {path}"), text, fix)
        });
        stale.collect()
    }

    /// Whether a VDI that this host may use has that device. Nothing claims a snapshot: each device of one
    /// may be in use.
    pub(super) fn is_used(&self, device: &Mapped) -> bool {
        let me = self.sr.host.owner();
        let unread = self
            .sr
            .images
            .vdi_of_name(&device.image_name)
            .is_some_and(|vdi| {
                let key = crate::catalogue::vdi_key(&vdi);
                let has_read = self.vdis.iter().any(|record| record.uuid == vdi);
                self.entries.contains_key(&key) && !has_read
            });
        let shown = self.vdis.iter().any(|record| {
            let snapshot = record.volume.snapshot().map(|snapshot| snapshot.id);
            let same =
                record.volume.image().id == device.key.image_id && snapshot == device.key.snap_id;
            let claim = record.claim.as_ref().map(|claim| &claim.owner);
            let claimed = claim.is_some_and(|o| o.host == me.host && o.boot_id == me.boot_id);
            same && (claimed || snapshot.is_some() || device.read_only || is_for_ha(&record.xapi))
        });
        shown || unread
    }

    fn fenced_devices(&self) -> Result<Vec<Finding>> {
        if self.devices.is_empty() {
            return Ok(Vec::new());
        }
        let blocklist = self.sr.pool.blocklisted().doing("reading the blocklist")?;
        let fenced = self.devices.iter();
        let fenced = fenced.filter(|device| is_cut_off(&blocklist, &device.client_address));
        let fenced = fenced.map(|device| {
            let text = format!(
                "its kernel client {} is on the cluster's blocklist: all I/O on image {} fails",
                device.client_address, device.image_name
            );
            let fix =
                "shut down the VM that uses it (xe vm-shutdown force=true) and start it again";
            let object = format!("device {}", device.device.display());
            table::FENCED_DEVICE.found(object, text, fix)
        });
        Ok(fenced.collect())
    }
}
