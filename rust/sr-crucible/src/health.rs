//! How each volume gets on, told to the administrator when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crucible_host::target::TargetState;
use crucible_host::Volume;
use sr::xapi::XapiVdi;
use uuid::Uuid;

use super::claim_log::{Claim, Log, SmConfig};
use super::error::{Context, Result};
use super::host::Server;
use super::{activate, CrucibleSr, Listing};

/// Where a VDI's `sm_config` keeps what was told last. Nothing is there while all is well.
const KEY: &str = "crucible_health";
/// XAPI's names of the messages.
const DEGRADED: &str = "SMBLOCK_CRUCIBLE_DEGRADED";
const RECOVERED: &str = "SMBLOCK_CRUCIBLE_RECOVERED";
/// How long, in seconds, a volume may have been claimed and still not have a server.
const UNDER_WAY: u64 = 120;
/// How many targets are asked at once.
const AT_ONCE: usize = 96;

pub(super) type States = BTreeMap<SocketAddr, TargetState>;

impl CrucibleSr<'_> {
    /// Looks at the targets of every volume and at the servers of this host, and has XAPI tell what
    /// has changed. Whatever fails here is logged: it must not keep the SR from being scanned.
    pub fn tell_health(&self, listing: &Listing, known: &[XapiVdi]) {
        let volumes: Vec<_> = listing.volumes.iter().map(|(volume, _)| volume).collect();
        let states = self.states(&volumes);
        let vdis = match self.vdis() {
            Ok(vdis) => vdis,
            Err(e) => return log::warn!("SR {}: nobody is told how it is: {e}", self.sr),
        };
        for volume in volumes {
            let Some(vdi) = known.iter().find(|vdi| vdi.uuid == volume.uuid) else {
                continue; // the next scan finds it in XAPI
            };
            let sm_config = &vdi.fields.sm_config;
            let told = self
                .problems(volume, &states, sm_config, &vdis)
                .and_then(|problems| self.tell(&volume.uuid, sm_config, &problems.join("; ")));
            if let Err(e) = told {
                log::warn!("VDI {}: nobody is told how it is: {e}", volume.uuid);
            }
        }
    }

    pub(super) fn states(&self, volumes: &[&Volume]) -> States {
        let targets: BTreeSet<_> = volumes.iter().flat_map(|volume| volume.targets).collect();
        let targets: Vec<_> = targets.into_iter().collect();
        let answers = targets
            .chunks(AT_ONCE)
            .flat_map(|part| self.host.probe(part));
        targets.iter().copied().zip(answers).collect()
    }

    fn problems(
        &self,
        volume: &Volume,
        states: &States,
        sm_config: &SmConfig,
        vdis: &[(Uuid, SmConfig)],
    ) -> Result<Vec<String>> {
        // What is told stays the same until something has changed; the log has the details.
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
        let machines: BTreeSet<IpAddr> = volume.targets.iter().map(SocketAddr::ip).collect();
        if let (1, Some(host)) = (machines.len(), machines.first()) {
            problems.push(format!(
                "all three targets are on {host}: the disk is lost with that machine"
            ));
        }
        let log = Log::read(&volume.uuid, sm_config)?;
        problems.extend(self.mismatches(volume, states, log.open().is_some(), vdis)?);
        let settled = |claim: &&Claim| claim.since + UNDER_WAY < self.host.now();
        let ours = log.open().filter(|claim| self.is_ours(claim));
        if let Some(claim) = ours.filter(settled) {
            let trouble = match self.server(&claim.vdi)? {
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

    /// What differs between a volume as it is declared and as its targets serve it, so that it could
    /// not be plugged. The regions of one that is `claimed` may be read-only, since they are copied.
    fn mismatches(
        &self,
        volume: &Volume,
        states: &States,
        claimed: bool,
        vdis: &[(Uuid, SmConfig)],
    ) -> Result<Vec<String>> {
        let unknown = TargetState::Down("it was not asked".to_owned());
        let found = volume.targets.iter().map(|target| states.get(target));
        let found: Vec<_> = found
            .map(|state| state.unwrap_or(&unknown).clone())
            .collect();
        let regions = self.wrong_regions(volume, &found, vdis)?;
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

    fn tell(&self, vdi: &Uuid, sm_config: &SmConfig, now: &str) -> Result<()> {
        let before = sm_config.get(KEY).map_or("", String::as_str);
        if before == now {
            return Ok(());
        }
        let doing = || format!("telling that VDI {vdi} is {now:?}");
        self.xapi.remove(vdi, KEY).registering(doing)?;
        if now.is_empty() {
            return self
                .xapi
                .tell(vdi, RECOVERED, "all is well again")
                .registering(doing);
        }
        log::warn!("VDI {vdi}: {now}");
        self.xapi.tell(vdi, DEGRADED, now).registering(doing)?;
        self.xapi.add(vdi, KEY, now).registering(doing)?;
        Ok(())
    }
}

/// Which targets a server that serves does without, by what it says itself. A target may reply while
/// the server's connection to it does not work.
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
