//! The health of the volumes: what the check that comes every ten minutes looks at, and the numbers of the SR.
//! Changes nothing.

use std::collections::BTreeMap;

use sr::alarm::table as alarms;
use sr::engine::{Health, Look};
use sr::finding::{table, Finding};
use uuid::Uuid;

use super::claim_log::{Claim, Log, SmConfig};
use super::doctor::{name_of, of_targets};
use super::error::Result;
use super::{CrucibleSr, Listing};

/// Seconds after a claim in which the server may still be starting.
const UNDER_WAY: u64 = 120;
/// The finding that the server of a volume has ended on this host by itself.
#[must_use]
pub fn ended_server(vdi: &Uuid, name: &str, host: &str, how: &str) -> Finding {
    let object = match name {
        "" => format!("VDI {vdi}"),
        name => format!("VDI {vdi} ({name})"),
    };
    let text = format!("its server on host {host} ended: {how}. Its I/O fails");
    let found = table::SERVER_GONE.found(object, text, super::doctor::REPLUG);
    found.event(vdi.to_string())
}

impl CrucibleSr<'_> {
    /// Looks at the targets of every volume and at the servers of this host.
    ///
    /// # Errors
    /// The list of volumes, XAPI, or this host cannot be read.
    pub fn look(&self) -> Result<Look> {
        let listing = self.inventory.list()?;
        let volumes: Vec<_> = listing.volumes.iter().map(|(volume, _)| volume).collect();
        let states = self.states(&volumes);
        let vdis: BTreeMap<Uuid, SmConfig> = self.records.vdis()?.into_iter().collect();
        let mut findings: Vec<_> = self.how_full(&listing).into_iter().collect();
        let mut looked_at = vec![&alarms::UNREADABLE, &alarms::REDUNDANCY, &alarms::SERVER];
        looked_at.extend(findings.first().map(|_| &alarms::USAGE));
        let mut claims = Vec::new();
        for volume in &volumes {
            let name = name_of(volume);
            let Some(sm_config) = vdis.get(&volume.uuid) else {
                continue; // the next scan introduces it
            };
            findings.extend(of_targets(volume, &name, &states));
            findings.extend(self.of_regions(volume, &name, &states, sm_config, &vdis)?);
            let log = Log::read(&volume.uuid, sm_config).unwrap_or_default();
            let Some(claim) = log.open() else {
                continue;
            };
            claims.push(claim.host.clone());
            let settled = |claim: &Claim| claim.since + UNDER_WAY < self.host.now();
            if self.claims.is_ours(claim) && settled(claim) {
                let server = self.servers.server(&volume.uuid)?;
                let has_device = self.servers.device(&volume.uuid)?.is_some();
                findings.extend(self.of_own_server(volume, &name, claim, &server, has_device));
            }
        }
        let here = &self.host.id().host;
        let health = Health {
            up: true,
            size: listing.total,
            used: listing
                .total
                .zip(listing.free)
                .map(|(total, free)| total.saturating_sub(free)),
            free: listing.free,
            allocated: volumes
                .iter()
                .fold(0, |sum, volume| volume.size.saturating_add(sum)),
            disks: volumes.len(),
            claims_here: claims.iter().filter(|host| *host == here).count(),
            claims: claims.len(),
            ..Health::default()
        };
        Ok(Look {
            health,
            findings,
            looked_at,
        })
    }

    /// How full the machines of the provisioner are, also if that is well.
    fn how_full(&self, listing: &Listing) -> Option<Finding> {
        let (total, free) = (listing.total?, listing.free?);
        let used = u128::from(total.saturating_sub(free));
        let percent = used * 100 / u128::from(total.max(1));
        let text = format!("{percent} % of {total} bytes are used, {free} bytes are free");
        let fix = "destroy VDIs, or add disks to the machines of the provisioner";
        let found = table::NEARLY_FULL.found(format!("SR {}", self.sr), text, fix);
        Some(found.measured(u64::try_from(percent).unwrap_or(100)))
    }
}
