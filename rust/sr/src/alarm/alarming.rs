//! Which findings raise an alarm, and what identifies them.

use std::collections::BTreeSet;

use crate::finding::{level, Finding};

/// A finding that raises an alarm, with its severity and threshold.
pub(super) struct Alarming {
    pub finding: Finding,
    pub threshold: Option<u64>,
    pub identity: String,
}

/// The findings that raise an alarm, if those identities were noted before.
pub(super) fn alarming(findings: &[&Finding], before: &BTreeSet<String>) -> Vec<Alarming> {
    let found = findings.iter().filter_map(|finding| {
        let Some(percent) = finding.percent else {
            return finding.is_trouble().then(|| Alarming {
                finding: (*finding).clone(),
                threshold: None,
                identity: identity(finding),
            });
        };
        let at = |severity| identity(&(*finding).clone().with_severity(severity));
        let (severity, threshold) = level(percent, |severity| before.contains(&at(severity)))?;
        Some(Alarming {
            finding: (*finding).clone().with_severity(severity),
            threshold: Some(threshold),
            identity: at(severity),
        })
    });
    found.collect()
}

/// What distinguishes a finding from others, and from an earlier one of the same object: a few characters, because
/// XAPI's database has them.
fn identity(finding: &Finding) -> String {
    let what = finding.event.as_ref().unwrap_or(&finding.object);
    let level = finding.percent.map(|_| finding.severity.name());
    let text = format!("{} {what} {}", finding.kind.id, level.unwrap_or_default());
    // FNV-1a: the same in each version and on each host.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}
