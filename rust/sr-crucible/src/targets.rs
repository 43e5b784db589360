//! What the targets of all volumes reply, compared with what is declared about them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crucible_host::target::TargetState;
use crucible_host::Volume;
use uuid::Uuid;

use super::claim_log::SmConfig;
use super::error::Result;
use super::{activate, regions, CrucibleSr};

/// How many targets are probed at the same time.
const AT_ONCE: usize = 96;

pub(super) type States = BTreeMap<SocketAddr, TargetState>;

impl CrucibleSr<'_> {
    pub(super) fn states(&self, volumes: &[&Volume]) -> States {
        let targets: BTreeSet<_> = volumes.iter().flat_map(|volume| volume.targets).collect();
        let targets: Vec<_> = targets.into_iter().collect();
        let replies = targets
            .chunks(AT_ONCE)
            .flat_map(|part| self.host.probe(part));
        targets.iter().copied().zip(replies).collect()
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
}
