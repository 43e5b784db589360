//! Limits of disks that do not hold.

use std::path::Path;

use super::VdiFacts;
use crate::finding::{table, Finding};
use crate::limits::{look, DiskLimits, Limited, IOPS_KEY, MBPS_KEY};

/// The disks that this host uses and whose limits do not hold. For the doctor.
#[must_use]
pub fn limits(vdis: &[VdiFacts], defaults: DiskLimits) -> Vec<Finding> {
    let used = vdis
        .iter()
        .filter_map(|vdi| Some((vdi, vdi.device.as_ref()?)));
    let looked = used.map(|(vdi, device)| {
        let found = look(defaults, &vdi.other_config, Path::new(device), vdi.tapdisk);
        (vdi, found)
    });
    looked
        .filter_map(|(vdi, found)| finding(vdi, &found))
        .collect()
}

fn finding(vdi: &VdiFacts, found: &Limited) -> Option<Finding> {
    // A host without control groups is no fault of a disk without limits.
    let is_bad = vdi
        .other_config
        .keys()
        .any(|key| key == IOPS_KEY || key == MBPS_KEY);
    let unlimited = found.wanted == DiskLimits::default() && !is_bad;
    if found.held == Some(found.wanted) && found.problems.is_empty()
        || (unlimited && found.held.is_none())
    {
        return None;
    }
    let text = match (&found.problems[..], found.held) {
        ([], held) => format!(
            "it is to have {}, and has {}",
            words(found.wanted),
            words(held.unwrap_or_default())
        ),
        (problems, _) => problems.join("; "),
    };
    let fix = format!("smblock vdi limit {}", vdi.uuid);
    Some(table::LIMIT_NOT_HELD.found(format!("VDI {} ({})", vdi.uuid, vdi.name), text, fix))
}

fn words(limits: DiskLimits) -> String {
    match (limits.iops, limits.mbps) {
        (None, None) => "no limit".to_owned(),
        (Some(iops), None) => format!("{iops} IOPS"),
        (None, Some(mbps)) => format!("{mbps} MB/s"),
        (Some(iops), Some(mbps)) => format!("{iops} IOPS and {mbps} MB/s"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SR: DiskLimits = DiskLimits {
        iops: Some(1000),
        mbps: None,
    };

    #[test]
    fn the_doctor_finds_a_limit_that_does_not_hold() {
        let vdi = VdiFacts {
            name: "disk".to_owned(),
            other_config: BTreeMap::from([(IOPS_KEY.to_owned(), "7".to_owned())]),
            ..VdiFacts::default()
        };
        let held = |held, problems: &[&str]| Limited {
            wanted: DiskLimits {
                iops: Some(7),
                mbps: None,
            },
            held,
            problems: problems.iter().map(|p| (*p).to_owned()).collect(),
        };
        assert_eq!(
            finding(&vdi, &held(Some(held(None, &[]).wanted), &[])),
            None
        );
        let found = finding(&vdi, &held(Some(SR), &[])).unwrap();
        assert_eq!(found.found, "it is to have 7 IOPS, and has 1000 IOPS");
        assert!(finding(&vdi, &held(None, &["no controller"])).is_some());
        // A disk without limits on a host without control groups.
        let plain = VdiFacts::default();
        let found = Limited {
            wanted: DiskLimits::default(),
            ..held(None, &["no controller"])
        };
        assert_eq!(finding(&plain, &found), None);
    }
}
