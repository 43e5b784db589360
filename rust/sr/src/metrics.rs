//! The state of SRs in the text format of Prometheus.

use std::fmt::{Display, Write as _};

use crate::engine::Health;
use crate::finding::Severity;

/// An SR, with what only the front has.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Its UUID.
    pub sr: String,
    /// What was seen of it.
    pub health: Health,
    /// Its name.
    pub name: String,
    /// How long the look took, in seconds.
    pub seconds: f64,
}

type Value = fn(&Sample) -> Option<String>;

fn some(value: impl Display) -> Option<String> {
    Some(value.to_string())
}

/// A value that is missing while the SR cannot be read.
fn if_up(sample: &Sample, value: impl Display) -> Option<String> {
    sample.health.up.then(|| value.to_string())
}

fn number(value: Option<u64>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// The gauges with one value for each SR: name, help, value.
const GAUGES: [(&str, &str, Value); 17] = [
    (
        "smblock_sr_up",
        "Whether the SR could be read from this host (1) or not (0).",
        |s| some(u8::from(s.health.up)),
    ),
    (
        "smblock_sr_check_duration_seconds",
        "How long reading the SR took.",
        |s| Some(format!("{:.3}", s.seconds)),
    ),
    (
        "smblock_sr_size_bytes",
        "What the SR can hold in all: what is stored and what is free.",
        |s| number(s.health.size),
    ),
    ("smblock_sr_used_bytes", "What is stored in the SR.", |s| {
        number(s.health.used)
    }),
    (
        "smblock_sr_free_bytes",
        "What can still be stored, by the quota and by the capacity, whichever is less.",
        |s| number(s.health.free),
    ),
    (
        "smblock_sr_reserve_bytes",
        "The part of the free space that is kept for existing disks: with less, new disks are refused.",
        |s| number(s.health.reserve),
    ),
    (
        "smblock_sr_quota_bytes",
        "The quota of the SR's pool in bytes. Missing without one.",
        |s| number(s.health.quota_bytes),
    ),
    (
        "smblock_sr_quota_objects",
        "The quota of the SR's pool in objects. Missing without one.",
        |s| number(s.health.quota_objects),
    ),
    (
        "smblock_sr_virtual_allocation_bytes",
        "The sum of the virtual sizes of all VDIs.",
        |s| if_up(s, s.health.allocated),
    ),
    (
        "smblock_sr_vdis",
        "The number of disks, without snapshots.",
        |s| if_up(s, s.health.disks),
    ),
    ("smblock_sr_snapshots", "The number of snapshots.", |s| {
        if_up(s, s.health.snapshots)
    }),
    (
        "smblock_sr_reclaim_backlog_images",
        "The number of images that are to be freed or flattened.",
        |s| s.health.backlog_images.and_then(some),
    ),
    (
        "smblock_sr_reclaim_backlog_bytes",
        "The virtual size of these images. Missing if there are more than 100.",
        |s| number(s.health.backlog_bytes),
    ),
    (
        "smblock_sr_journal_entries",
        "The number of operations that are under way.",
        |s| if_up(s, s.health.operations),
    ),
    (
        "smblock_sr_claims",
        "The number of VDIs that any host has claimed.",
        |s| if_up(s, s.health.claims),
    ),
    (
        "smblock_sr_host_claims",
        "The number of VDIs that this host has claimed.",
        |s| if_up(s, s.health.claims_here),
    ),
    (
        "smblock_sr_host_devices_cut_off",
        "The number of devices of this host that are cut off from the cluster: all I/O on them fails.",
        |s| if_up(s, s.health.cut_off),
    ),
];

/// The page, with a line feed at its end. `host` is the name of this host, `version` that of smblock.
#[must_use]
pub fn page(host: &str, version: &str, samples: &[Sample]) -> String {
    let mut page = String::new();
    head(
        &mut page,
        "smblock_info",
        "The version of smblock on this host. The value is 1.",
    );
    line(
        &mut page,
        "smblock_info",
        &[("host", host), ("version", version)],
        "1",
    );
    for (name, help, value) in GAUGES {
        head(&mut page, name, help);
        for sample in samples {
            if let Some(value) = value(sample) {
                line(&mut page, name, &labels(host, sample), &value);
            }
        }
    }
    let name = "smblock_sr_findings";
    head(
        &mut page,
        name,
        "The number of findings about the SR, by severity: docs/user/findings.md.",
    );
    for sample in samples {
        for (severity, word) in [
            (Severity::Warning, "warning"),
            (Severity::Failure, "failure"),
        ] {
            let found = &sample.health.findings;
            let count = found.iter().filter(|f| f.severity == severity).count();
            let mut labels = labels(host, sample);
            labels.push(("severity", word));
            line(&mut page, name, &labels, &count.to_string());
        }
    }
    page
}

fn labels<'s>(host: &'s str, sample: &'s Sample) -> Vec<(&'static str, &'s str)> {
    vec![
        ("host", host),
        ("sr", sample.sr.as_str()),
        ("sr_name", &sample.name),
        ("type", &sample.health.sr_type),
        ("pool", &sample.health.pool),
    ]
}

fn head(page: &mut String, name: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(page: &mut String, name: &str, labels: &[(&str, &str)], value: &str) {
    let labels = labels.iter();
    let labels = labels.map(|(label, value)| format!("{label}=\"{}\"", escape(value)));
    let labels = labels.collect::<Vec<_>>().join(",");
    let _ = writeln!(page, "{name}{{{labels}}} {value}");
}

/// A label's value.
fn escape(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sr_that_is_down_has_no_numbers_and_does_not_hide_another() {
        let mut well = Sample {
            name: "a \"b\"\\\nü".to_owned(),
            sr: "1".to_owned(),
            ..Sample::default()
        };
        well.health.up = true;
        well.health.disks = 3;
        let down = Sample {
            sr: "2".to_owned(),
            ..Sample::default()
        };
        let page = page("h", "1.0", &[down, well]);
        let lines: Vec<_> = page.lines().filter(|line| line.contains("sr=\"")).collect();
        let name = "sr_name=\"a \\\"b\\\"\\\\\\nü\"";
        assert!(lines
            .contains(&"smblock_sr_up{host=\"h\",sr=\"2\",sr_name=\"\",type=\"\",pool=\"\"} 0"));
        let vdis: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with("smblock_sr_vdis"))
            .collect();
        let expected =
            format!("smblock_sr_vdis{{host=\"h\",sr=\"1\",{name},type=\"\",pool=\"\"}} 3");
        assert_eq!(vdis, [&expected.as_str()]);
    }

    #[test]
    fn each_name_has_its_help_and_type_once_and_a_unit_if_it_has_one() {
        let page = page("h", "1.0", &[]);
        let names: Vec<_> = GAUGES.iter().map(|(name, _, _)| *name).collect();
        for name in names.iter().chain(&["smblock_info", "smblock_sr_findings"]) {
            assert_eq!(page.matches(&format!("# TYPE {name} gauge\n")).count(), 1);
            assert_eq!(page.matches(&format!("# HELP {name} ")).count(), 1);
        }
    }
}
