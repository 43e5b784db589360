//! The health of each volume. A change raises an alert in XAPI.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crucible_host::target::TargetState;
use crucible_host::Volume;
use sr::xapi::XapiVdi;
use uuid::Uuid;

use super::claim_log::{Claim, Log, SmConfig};
use super::error::{Context, Result};
use super::host::Server;
use super::{activate, regions, CrucibleSr, Listing};

/// The key of a VDI's `sm_config` with the last alert's text. Absent while the volume is healthy.
const KEY: &str = "crucible_health";
/// The names of the alerts in XAPI.
const DEGRADED: &str = "SMBLOCK_CRUCIBLE_DEGRADED";
const RECOVERED: &str = "SMBLOCK_CRUCIBLE_RECOVERED";
/// Seconds after a claim in which the server may still be starting.
const UNDER_WAY: u64 = 120;
/// How many targets are probed at the same time.
const AT_ONCE: usize = 96;

pub(super) type States = BTreeMap<SocketAddr, TargetState>;

impl CrucibleSr<'_> {
    /// Checks the targets of every volume and the servers of this host, and raises an alert for each volume
    /// whose health has changed. A failure is only logged, because the scan of the SR must not fail with it.
    pub fn report_health(&self, listing: &Listing, known: &[XapiVdi]) {
        let volumes: Vec<_> = listing.volumes.iter().map(|(volume, _)| volume).collect();
        let states = self.states(&volumes);
        let vdis = match self.records.vdis() {
            Ok(vdis) => vdis,
            Err(e) => {
                return log::warn!(
                    "SR {}: cannot check the health of its volumes: {e}",
                    self.sr
                )
            }
        };
        for volume in volumes {
            let Some(vdi) = known.iter().find(|vdi| vdi.uuid == volume.uuid) else {
                continue; // the next scan finds it in XAPI
            };
            let sm_config = &vdi.fields.sm_config;
            let reported = self
                .problems(volume, &states, sm_config, &vdis)
                .and_then(|problems| self.report(&volume.uuid, sm_config, &problems.join("; ")));
            if let Err(e) = reported {
                log::warn!(
                    "VDI {}: cannot check or report its health: {e}",
                    volume.uuid
                );
            }
        }
    }

    pub(super) fn states(&self, volumes: &[&Volume]) -> States {
        let targets: BTreeSet<_> = volumes.iter().flat_map(|volume| volume.targets).collect();
        let targets: Vec<_> = targets.into_iter().collect();
        let replies = targets
            .chunks(AT_ONCE)
            .flat_map(|part| self.host.probe(part));
        targets.iter().copied().zip(replies).collect()
    }

    fn problems(
        &self,
        volume: &Volume,
        states: &States,
        sm_config: &SmConfig,
        vdis: &[(Uuid, SmConfig)],
    ) -> Result<Vec<String>> {
        // The alert's text stays the same until something changes. The log has the details.
        let mut down = Vec::new();
        for target in &volume.targets {
            if let Some(TargetState::Down(why)) = states.get(target) {
                log::warn!("VDI {}: target {target} is down: {why}", volume.uuid);
                down.push(target.to_string());
            }
        }
        let mut problems = Vec::new();
        if !down.is_empty() {
            let consequence = match down.len() {
                1 => "it works on two copies, and cannot be plugged again until all are back",
                _ => "writes wait until two targets are up",
            };
            problems.push(format!("down: {}: {consequence}", down.join(", ")));
        }
        let hosts: BTreeSet<IpAddr> = volume.targets.iter().map(SocketAddr::ip).collect();
        if let (1, Some(host)) = (hosts.len(), hosts.first()) {
            problems.push(format!(
                "all three targets are on {host}: the disk is lost with that host"
            ));
        }
        let log = Log::read(&volume.uuid, sm_config)?;
        problems.extend(self.mismatches(volume, states, log.open().is_some(), vdis)?);
        let settled = |claim: &&Claim| claim.since + UNDER_WAY < self.host.now();
        let ours = log.open().filter(|claim| self.claims.is_ours(claim));
        if let Some(claim) = ours.filter(settled) {
            let trouble = match self.servers.server(&claim.vdi)? {
                Server::Running {
                    serving: Ok(()),
                    downstairs,
                    ..
                } => {
                    problems.extend(away(volume, &downstairs));
                    return Ok(problems);
                }
                Server::Running {
                    serving: Err(why), ..
                } => {
                    log::warn!("VDI {}: its server does not serve: {why}", volume.uuid);
                    "its server does not serve: its targets are gone, or another server has taken the volume"
                }
                Server::Ended { how } => {
                    log::warn!("VDI {}: its server is gone: {how}", volume.uuid);
                    "its server is gone"
                }
                Server::Absent => "it has no server",
            };
            problems.push(format!(
                "{trouble}. Its I/O fails until it is unplugged and plugged again"
            ));
        }
        Ok(problems)
    }

    /// Returns the differences between a volume's entry and its targets that keep the disk from being plugged.
    /// The regions of a `claimed` volume may be read-only, because they are being copied.
    pub(super) fn mismatches(
        &self,
        volume: &Volume,
        states: &States,
        claimed: bool,
        vdis: &[(Uuid, SmConfig)],
    ) -> Result<Vec<String>> {
        let unknown = TargetState::Down("it was not probed".to_owned());
        let found = volume.targets.iter().map(|target| states.get(target));
        let found: Vec<_> = found
            .map(|state| state.unwrap_or(&unknown).clone())
            .collect();
        let regions = regions::wrong(volume, &found, vdis)?;
        let mut problems = Vec::new();
        for ((target, state), region) in volume.targets.iter().zip(&found).zip(regions) {
            let unusable = match state {
                TargetState::Down(_) => None,
                TargetState::Up {
                    read_only: Some(true),
                    ..
                } if claimed => None,
                TargetState::Up { .. } => activate::unusable(volume, state),
            };
            if let Some(why) = unusable.or(region) {
                problems.push(format!("target {target} {why}: the disk cannot be plugged"));
            }
        }
        Ok(problems)
    }

    fn report(&self, vdi: &Uuid, sm_config: &SmConfig, now: &str) -> Result<()> {
        let before = sm_config.get(KEY).map_or("", String::as_str);
        if before == now {
            return Ok(());
        }
        let doing = || format!("reporting the health of VDI {vdi}: {now:?}");
        self.xapi.remove(vdi, KEY).of_xapi(doing)?;
        if now.is_empty() {
            return self
                .xapi
                .alert(vdi, RECOVERED, "the disk is healthy again")
                .of_xapi(doing);
        }
        log::warn!("VDI {vdi}: {now}");
        self.xapi.alert(vdi, DEGRADED, now).of_xapi(doing)?;
        self.xapi.add(vdi, KEY, now).of_xapi(doing)?;
        Ok(())
    }
}

/// Returns which targets a server works without, by its own report. A target may reply while the server's
/// connection to it does not work.
fn away(volume: &Volume, downstairs: &[String]) -> Option<String> {
    let states = volume.targets.iter().zip(downstairs);
    let away = states.filter(|(_, state)| *state != "active");
    let away: Vec<_> = away
        .map(|(target, state)| {
            log::warn!(
                "VDI {}: its server's target {target} is {state}",
                volume.uuid
            );
            let (kind, _) = state.split_once(' ').unwrap_or((state, ""));
            format!("{target} ({kind})")
        })
        .collect();
    (!away.is_empty()).then(|| format!("its server works without: {}", away.join(", ")))
}
