//! The doctor of an SR of type crucible: each volume's targets, claims, servers and devices, as seen from
//! this host. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crucible_host::target::TargetState;
use crucible_host::Volume;
use sr::doctor::{tags, Facts, OfSr};
use sr::finding::{table, Finding};
use uuid::Uuid;

use super::claim_log::{Claim, Log, SmConfig};
use super::error::{Context, Result};
use super::host::Server;
use super::targets::States;
use super::CrucibleSr;

pub(super) const REPLUG: &str =
    "shut down the VM that uses it (xe vm-shutdown force=true) and start it again";

impl CrucibleSr<'_> {
    /// Looks at the SR from this host. `facts`: what XAPI and SM have about it.
    ///
    /// # Errors
    /// The list of volumes, or XAPI, cannot be read.
    pub fn doctor(&self, facts: &Facts) -> Result<Vec<Finding>> {
        let listing = self.inventory.list()?;
        let volumes: Vec<_> = listing.volumes.iter().map(|(volume, _)| volume).collect();
        let states = self.states(&volumes);
        let vdis: BTreeMap<Uuid, SmConfig> = self.records.vdis()?.into_iter().collect();
        let (mut found, mut on_this_host) = (Vec::new(), BTreeSet::new());
        for volume in volumes {
            let name = name_of(volume);
            found.extend(of_targets(volume, &name, &states));
            let Some(sm_config) = vdis.get(&volume.uuid) else {
                let text = "its volume is listed, and XAPI does not have the VDI";
                let fix = format!("xe sr-scan uuid={}", self.sr);
                found.push(table::VOLUME_WITHOUT_VDI.found(name, text, fix));
                continue;
            };
            found.extend(self.of_regions(volume, &name, &states, sm_config, &vdis)?);
            let is_here = self.servers.device(&volume.uuid)?.is_some();
            if is_here {
                on_this_host.insert(volume.uuid);
            }
            found.extend(self.of_claim(volume, &name, sm_config, is_here)?);
        }
        let listed: BTreeSet<_> = listing.volumes.iter().map(|(v, _)| v.uuid).collect();
        for vdi in vdis.keys().filter(|vdi| !listed.contains(vdi)) {
            let text = "XAPI has the VDI, and no list has its volume";
            let fix =
                "correct the file of device-config:volumes, or start the provisioner's machines";
            found.push(table::VDI_WITHOUT_VOLUME.found(format!("VDI {vdi}"), text, fix));
        }
        let has = OfSr {
            vdis: listed.into_iter().chain(vdis.into_keys()).collect(),
            on_this_host,
            under_way: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
        };
        // What only one side has is above, in the words of volumes.
        let mut tagged = tags(facts, &self.sr, &has);
        tagged.retain(|f| f.kind != &table::NOT_IN_XAPI && f.kind != &table::ONLY_IN_XAPI);
        found.extend(tagged);
        Ok(found)
    }

    /// Releases this host's claims that are over, and stops its servers without a device: what each command on
    /// the SR does by itself.
    pub fn repair(&self) {
        self.remove_leftovers();
    }

    /// Targets that reply, and cannot serve this volume.
    pub(super) fn of_regions(
        &self,
        volume: &Volume,
        name: &str,
        states: &States,
        sm_config: &SmConfig,
        vdis: &BTreeMap<Uuid, SmConfig>,
    ) -> Result<Vec<Finding>> {
        let claimed = Log::read(&volume.uuid, sm_config).is_ok_and(|log| log.open().is_some());
        let vdis: Vec<_> = vdis.iter().map(|(vdi, c)| (*vdi, c.clone())).collect();
        let wrong = self.mismatches(volume, states, claimed, &vdis)?.into_iter();
        let found = wrong.map(|text| {
            let vdi = volume.uuid;
            let fix = format!(
                "correct what is declared about it; if the regions are its own: smblock accept {} --vdi {vdi} --yes",
                self.sr
            );
            table::WRONG_TARGET.found(name, text, fix)
        });
        Ok(found.collect())
    }

    fn of_claim(
        &self,
        volume: &Volume,
        name: &str,
        sm_config: &SmConfig,
        has_device: bool,
    ) -> Result<Vec<Finding>> {
        let vdi = &volume.uuid;
        let log = match Log::read(vdi, sm_config) {
            Ok(log) => log,
            Err(error) => {
                let fix = format!("smblock release {} --vdi {vdi} --yes", self.sr);
                let found = table::VOLUME_CLAIM_DAMAGED.found(name, error.to_string(), fix);
                return Ok(vec![found]);
            }
        };
        let server = self.servers.server(vdi)?;
        let claim = log.open();
        let found = match claim {
            Some(claim) if self.claims.is_ours(claim) => {
                self.of_own_server(volume, name, claim, &server, has_device)
            }
            Some(claim) if claim.host == self.host.id().host => {
                let text = "this host claimed it in an earlier boot";
                vec![self.left(name, text, claim)]
            }
            Some(claim) => {
                let mut found: Vec<_> = self.of_foreign_claim(name, claim)?.into_iter().collect();
                found.extend(self.unclaimed(name, &server, has_device));
                found
            }
            None => self
                .unclaimed(name, &server, has_device)
                .into_iter()
                .collect(),
        };
        Ok(found)
    }

    pub(super) fn of_own_server(
        &self,
        volume: &Volume,
        name: &str,
        claim: &Claim,
        server: &Server,
        has_device: bool,
    ) -> Vec<Finding> {
        let vdi = claim.vdi.to_string();
        let gone = |text: String| {
            table::SERVER_GONE
                .found(name, text, REPLUG)
                .event(vdi.clone())
        };
        match server {
            Server::Running {
                generation,
                serving: Ok(()),
                downstairs,
            } => {
                let mut found = Vec::new();
                if *generation != claim.generation {
                    let text = format!(
                        "its server has generation {generation}, and its claim {}",
                        claim.generation
                    );
                    found.push(table::OTHER_GENERATION.found(name, text, REPLUG));
                }
                let states = volume.targets.iter().zip(downstairs);
                for (target, state) in states.filter(|(_, state)| *state != "active") {
                    let text = format!("its server's target {target} is {state}");
                    let fix = "see the downstairs of that target; a repair may be under way";
                    found.push(table::SERVER_DEGRADED.found(name, text, fix));
                }
                found
            }
            Server::Running {
                serving: Err(why), ..
            } => {
                let text = format!("its server does not serve: {why}");
                vec![gone(text).since(claim.since)]
            }
            Server::Ended { how } if has_device => {
                let text = format!("its server is gone: {how}");
                vec![gone(text)]
            }
            Server::Absent if has_device => {
                vec![gone("it has a device and no server".to_owned())]
            }
            Server::Ended { .. } | Server::Absent => {
                if self.is_worked_on(&claim.vdi) {
                    return Vec::new(); // it is being activated
                }
                vec![self.left(
                    name,
                    "this host has neither a server nor a device of it",
                    claim,
                )]
            }
        }
    }

    fn is_worked_on(&self, vdi: &Uuid) -> bool {
        !matches!(self.host.try_lock(vdi), Ok(Some(_)))
    }

    fn left(&self, name: &str, text: &str, claim: &Claim) -> Finding {
        let fix = format!("smblock doctor {} --repair", self.sr);
        table::VOLUME_CLAIM_LEFT
            .found(name, text, fix)
            .since(claim.since)
    }

    fn of_foreign_claim(&self, name: &str, claim: &Claim) -> Result<Option<Finding>> {
        let host = &claim.host;
        let doing = || {
            format!(
                "asking XAPI about host {host}, which has claimed VDI {}",
                claim.vdi
            )
        };
        let found = match self.xapi.host(host).of_xapi(doing)? {
            None => {
                let text = format!("host {host} has claimed it, and this pool has no such host");
                let fix = format!(
                    "if that host is off for certain: smblock release {} --vdi {} --yes",
                    self.sr, claim.vdi
                );
                table::VOLUME_CLAIM_OF_UNKNOWN.found(name, text, fix)
            }
            Some(state) if state.declared_dead => {
                let text = format!("host {host} has claimed it, and was declared dead");
                let fix = "start its VM on another host, which takes it over";
                table::VOLUME_CLAIM_OF_DEAD.found(name, text, fix)
            }
            Some(_) => return Ok(None),
        };
        Ok(Some(found.since(claim.since)))
    }

    /// This host has no claim.
    fn unclaimed(&self, name: &str, server: &Server, has_device: bool) -> Option<Finding> {
        let text = match server {
            Server::Running { .. } => "this host runs a server of it, and has not claimed it",
            _ if has_device => "this host has a device of it, and has not claimed it",
            _ => return None,
        };
        let fix = "shut down the VM that uses it on this host, then: xe pbd-unplug and xe pbd-plug";
        Some(table::UNCLAIMED_SERVER.found(name, text, fix))
    }
}

pub(super) fn of_targets(volume: &Volume, name: &str, states: &States) -> Vec<Finding> {
    let mut found = Vec::new();
    let down = volume
        .targets
        .iter()
        .filter_map(|target| match states.get(target) {
            Some(TargetState::Down(why)) => Some(format!("{target} ({why})")),
            _ => None,
        });
    let down: Vec<_> = down.collect();
    let fix = "start the downstairs of that target, or its machine";
    match down.len() {
        0 => {}
        1 => found.push(table::TARGET_DOWN.found(name, format!("down: {}", down[0]), fix)),
        _ => {
            let text = format!("down: {}", down.join(", "));
            found.push(table::TARGETS_DOWN.found(name, text, fix));
        }
    }
    let machines: BTreeSet<IpAddr> = volume.targets.iter().map(SocketAddr::ip).collect();
    if let (1, Some(host)) = (machines.len(), machines.first()) {
        let text = format!("all three targets are on {host}");
        let fix = "make a volume with targets on three machines, and copy the disk: xe vdi-copy";
        found.push(table::ONE_MACHINE.found(name, text, fix));
    }
    found
}

pub(super) fn name_of(volume: &Volume) -> String {
    match volume.name.as_str() {
        "" => format!("VDI {}", volume.uuid),
        name => format!("VDI {} ({name})", volume.uuid),
    }
}
