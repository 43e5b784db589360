//! The cheap part of the doctor: what the check that comes every ten minutes looks at, and the numbers of the SR.
//! It opens no image, and does not list the pool.

use sr::alarm::table as alarms;
use sr::engine::{Health, Look};
use sr::finding::{table, Finding};

use super::look::Doctor;
use super::space::of_usage;
use crate::catalogue::{with_prefix, HOST_PREFIX};
use crate::error::{Context, Result};
use crate::host::Membership;
use crate::record::{HostRecord, Record};
use crate::sr::reclaim::Pending;
use crate::CephSr;

/// Of so many images the sizes are asked for: one request each.
const MEASURED: usize = 100;
/// Seconds for which the same images may be pending. To flatten one of 16 TiB takes less.
const NOT_FREED_SECONDS: u64 = 12 * 60 * 60;

impl CephSr<'_> {
    /// Looks at what is cheap to look at. Changes nothing of the SR.
    ///
    /// # Errors
    /// The catalogue, the pool or this host's devices cannot be read.
    pub fn look(&self) -> Result<Look> {
        let mut doctor = Doctor::without_images(self)?;
        let usage = self.usage()?;
        let pending = self.pending_now(&doctor.entries)?;
        let cut_off = self.alerts.cut_off_devices()?;
        let me = &self.host.owner().host;
        let mut looked_at = vec![
            &alarms::UNREADABLE,
            &alarms::RECLAIM,
            &alarms::HOST_FENCED,
            &alarms::HOST_CUT_OFF,
        ];
        let how_full = of_usage(&usage);
        looked_at.extend(how_full.as_ref().map(|_| &alarms::USAGE));
        doctor.look_at_worker();
        let mut findings = std::mem::take(&mut doctor.found);
        findings.extend(how_full);
        findings.extend(self.not_freed(&pending)?);
        let own = doctor.host_record(me);
        let ended = own.as_ref().filter(|own| own.boot_id.is_some());
        let ended = ended.and_then(|own| self.alerts.death_in(own));
        findings.extend(self.alerts.cut_off(&doctor.entries, &cut_off, ended));
        findings.extend(doctor.dead_hosts()?);
        let claims = doctor.vdis.iter().filter_map(|vdi| vdi.claim.as_ref());
        let claims: Vec<_> = claims.map(|claim| &claim.owner.host).collect();
        let disks = doctor.vdis.iter();
        let disks = disks.filter(|vdi| vdi.volume.snapshot().is_none()).count();
        let health = Health {
            sr: self.sr,
            up: true,
            pool: self.pool.pool_name().to_owned(),
            size: usage.total(),
            used: Some(usage.used()).filter(|_| usage.total().is_some()),
            free: usage.free(),
            reserve: usage.reserve(),
            quota_bytes: usage.quota_bytes,
            quota_objects: usage.quota_objects,
            allocated: doctor
                .vdis
                .iter()
                .fold(0, |sum, vdi| vdi.size.saturating_add(sum)),
            disks,
            snapshots: doctor.vdis.len() - disks,
            backlog_images: Some(pending.len()),
            backlog_bytes: self.bytes_of(&pending)?,
            operations: doctor.intents.len(),
            claims_here: claims.iter().filter(|host| **host == me).count(),
            claims: claims.len(),
            cut_off: cut_off.len(),
            ..Health::default()
        };
        Ok(Look {
            health,
            findings,
            looked_at,
        })
    }

    fn bytes_of(&self, pending: &[Pending]) -> Result<Option<u64>> {
        if pending.len() > MEASURED {
            return Ok(None);
        }
        let sizes = pending.iter().map(|each| self.size_of(each));
        sizes.sum::<Result<u64>>().map(Some)
    }

    /// The same images are pending for so long that the worker does not work.
    fn not_freed(&self, pending: &[Pending]) -> Result<Option<Finding>> {
        let mut names: Vec<_> = pending
            .iter()
            .map(|each| each.image.name.as_str())
            .collect();
        names.sort_unstable();
        let key = format!("backlog.{}", self.sr);
        let doing = "noting which images are pending";
        let seconds = self.host.seen_for(&key, &names.join(" ")).doing(doing)?;
        if names.is_empty() || seconds < NOT_FREED_SECONDS {
            return Ok(None);
        }
        let sr = self.sr;
        let text = format!(
            "the same {} image(s) are to be freed or flattened since {} hours",
            names.len(),
            seconds / 3600
        );
        let fix = format!("free the space now, and see why it fails: smblock reclaim {sr}");
        Ok(Some(table::NOT_FREED.found(format!("SR {sr}"), text, fix)))
    }
}

impl Doctor<'_, '_> {
    /// The hosts of this pool that were declared dead and have not come back.
    fn dead_hosts(&self) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        for (key, value) in with_prefix(&self.entries, HOST_PREFIX) {
            let host = key.strip_prefix(HOST_PREFIX).unwrap_or_default();
            let Ok(record) = HostRecord::parse(value) else {
                continue;
            };
            let Some(finding) = self.sr.alerts.fenced(&self.entries, host, &record) else {
                continue;
            };
            let doing = format!("asking XAPI about host {host}");
            if self.sr.host.membership(host).doing(&doing)? != Membership::Unknown {
                found.push(finding);
            }
        }
        Ok(found)
    }
}
