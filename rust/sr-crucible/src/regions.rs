//! Checks that a volume's targets serve the volume's own regions.
//!
//! A server treats another volume's region at one of its targets as an outdated copy. It overwrites that
//! region, or copies from it: both volumes are lost, without an error. So the UUIDs of the three regions are
//! declared (`regions`), or recorded in the VDI's `sm_config` (key `crucible_regions`) when the volume is
//! first served. They are compared before each start of a server.
//!
//! Without a record, three regions belong together if they have one UUID (created by hand with the same
//! `--uuid`), or three different ones (made by a provisioner). Two equal UUIDs and a different one are
//! refused. So is a region that another VDI of the SR has recorded.
//!
//! If a region was replaced on purpose, [`CrucibleSr::accept`](super::CrucibleSr::accept) removes the record.

use crucible_host::target::{TargetState, REPAIR_PORT_OFFSET};
use crucible_host::Volume;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::claim_log::SmConfig;
use super::error::Result;
use super::records::{recorded, Recorded, Records};

#[derive(Serialize, Deserialize)]
struct Regions {
    regions: Vec<Uuid>,
}

impl Recorded for Regions {
    const KEY: &'static str = "crucible_regions";
    const WHAT: &'static str = "regions";
}

/// Returns the regions that a VDI has recorded, in any order, or `None`.
pub(super) fn recorded_regions(vdi: &Uuid, sm_config: &SmConfig) -> Result<Option<Vec<Uuid>>> {
    Ok(recorded::<Regions>(vdi, sm_config)?.map(|recorded| recorded.regions))
}

fn region_of(state: &TargetState) -> Option<Uuid> {
    match state {
        TargetState::Up { region, .. } => *region,
        TargetState::Down(_) => None,
    }
}

/// Returns what is wrong with each target's region. `own` are the volume's, `others` those of other VDIs.
fn compare(
    found: &[Option<Uuid>],
    own: Option<&[Uuid]>,
    others: &[(Uuid, Vec<Uuid>)],
) -> Vec<Option<String>> {
    let known: Vec<Uuid> = found.iter().flatten().copied().collect();
    let count = |list: &[Uuid], region: &Uuid| list.iter().filter(|r| *r == region).count();
    // Two equal UUIDs, and a different one.
    let mixed = known.len() == 3 && known.iter().any(|region| count(&known, region) == 2);
    let describe = |region: &Uuid| {
        let stranger = others.iter().find(|(_, regions)| regions.contains(region));
        if let Some((vdi, _)) = stranger {
            return Some(format!(
                "serves region {region}, which belongs to VDI {vdi}"
            ));
        }
        match own {
            Some(own) if !own.contains(region) => Some(format!(
                "serves region {region}, which is not one of this volume's; if it was replaced on \
                 purpose, run 'smblock accept --sr=UUID --vdi=UUID --yes' with the SR's device-config"
            )),
            Some(own) if count(&known, region) > count(own, region) => {
                Some(format!("serves region {region}, which another target serves too"))
            }
            None if mixed && count(&known, region) == 1 => Some(format!(
                "serves region {region}, and the other two targets serve another one: it belongs to a different volume"
            )),
            _ => None,
        }
    };
    found
        .iter()
        .map(|region| region.as_ref().and_then(describe))
        .collect()
}

/// Returns what is wrong with the region of each target, in the order of the targets. `vdis` are the SR's.
pub(super) fn wrong(
    volume: &Volume,
    states: &[TargetState],
    vdis: &[(Uuid, SmConfig)],
) -> Result<Vec<Option<String>>> {
    let mut own = volume.regions.map(|regions| regions.to_vec());
    let mut others = Vec::new();
    for (vdi, sm_config) in vdis {
        if *vdi == volume.uuid {
            own = match own {
                None => recorded_regions(vdi, sm_config)?,
                declared => declared,
            };
            continue;
        }
        match recorded_regions(vdi, sm_config) {
            Ok(Some(regions)) => others.push((*vdi, regions)),
            Ok(None) => {}
            // Only its own VDI cannot be plugged.
            Err(e) => log::warn!("{e}"),
        }
    }
    let found: Vec<_> = states.iter().map(region_of).collect();
    let mut wrong = compare(&found, own.as_deref(), &others);
    for ((wrong, state), target) in wrong.iter_mut().zip(states).zip(volume.targets) {
        let hidden = matches!(state, TargetState::Up { region: None, .. });
        if hidden && own.is_some() {
            let port = target.port() + REPAIR_PORT_OFFSET;
            *wrong = Some(format!(
                "does not report which region it serves: let this host reach its port {port}"
            ));
        }
    }
    Ok(wrong)
}

/// Records the regions that the volume is served from, if all targets report theirs.
pub(super) fn record(records: Records<'_>, volume: &Volume, states: &[TargetState]) -> Result<()> {
    let vdi = &volume.uuid;
    let regions: Option<Vec<Uuid>> = states.iter().map(region_of).collect();
    let (Some(regions), None) = (regions, recorded_regions(vdi, &records.sm_config(vdi)?)?) else {
        return Ok(());
    };
    records.record(vdi, Regions { regions })
}

/// Removes the record, after an administrator has replaced a region.
pub(super) fn forget(records: Records<'_>, vdi: &Uuid) -> Result<()> {
    records.forget::<Regions>(vdi)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(0xa);
    const B: Uuid = Uuid::from_u128(0xb);
    const C: Uuid = Uuid::from_u128(0xc);
    const D: Uuid = Uuid::from_u128(0xd);

    fn wrong(found: [Uuid; 3], own: Option<&[Uuid]>, others: &[(Uuid, Vec<Uuid>)]) -> Vec<usize> {
        let wrong = compare(&found.map(Some), own, others);
        let wrong = wrong.into_iter().enumerate();
        wrong.filter_map(|(n, text)| text.map(|_| n)).collect()
    }

    #[test]
    fn three_regions_of_one_uuid_or_of_three_are_a_volume() {
        assert_eq!(wrong([A, A, A], None, &[]), [0; 0]);
        assert_eq!(wrong([A, B, C], None, &[]), [0; 0]);
        assert_eq!(wrong([A, B, A], None, &[]), [1]);
    }

    #[test]
    fn a_region_that_is_not_recorded_is_refused_in_any_order() {
        let own = [A, B, C];
        assert_eq!(wrong([C, A, B], Some(&own), &[]), [0; 0]);
        assert_eq!(wrong([C, D, B], Some(&own), &[]), [1]);
        assert_eq!(wrong([A, A, B], Some(&own), &[]), [0, 1]);
        assert_eq!(wrong([A, A, D], Some(&[A, A, A]), &[]), [2]);
    }

    #[test]
    fn a_region_of_another_vdi_is_refused_before_there_is_a_record() {
        let others = [(Uuid::from_u128(7), vec![D, D, D])];
        assert_eq!(wrong([A, B, D], None, &others), [2]);
        let hidden = compare(&[None, Some(A), None], None, &others);
        assert_eq!(hidden, [None, None, None]);
    }
}
