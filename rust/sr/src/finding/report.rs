//! Findings as a report: for a person, and for a program.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Finding, Severity};

/// What was found about one object, such as an SR or this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Several sections, with what they come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(pub Vec<Section>);

/// A finding in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The id of its kind.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// The title of its kind.
    pub title: String,
    /// The title of its section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// What it is about.
    pub object: String,
    /// What was found.
    pub found: String,
    /// How to fix it.
    pub fix: String,
    /// Since when.
    pub since: Option<String>,
}

impl Entry {
    /// A finding of a section, which has no title if it is the only one.
    #[must_use]
    pub fn of(finding: &Finding, section: &str) -> Self {
        Entry {
            id: finding.kind.id.to_owned(),
            severity: finding.severity,
            title: finding.kind.title.to_owned(),
            section: Some(section.to_owned()).filter(|section| !section.is_empty()),
            object: finding.object.clone(),
            found: finding.found.clone(),
            fix: finding.fix.clone(),
            since: finding.since.map(date),
        }
    }
}

#[derive(Serialize)]
struct Whole {
    status: u8,
    failures: usize,
    warnings: usize,
    notes: usize,
    ok: usize,
    not_run: usize,
    findings: Vec<Entry>,
}

impl Report {
    fn count(&self, severity: Severity) -> usize {
        let all = self.0.iter().flat_map(|section| &section.findings);
        all.filter(|finding| finding.severity == severity).count()
    }

    /// The exit status: 0 if nothing is wrong, 1 if the worst is a warning, 2 if something fails.
    #[must_use]
    pub fn status(&self) -> u8 {
        if self.count(Severity::Failure) > 0 {
            return 2;
        }
        u8::from(self.count(Severity::Warning) > 0)
    }

    /// Each warning and each failure with its fix, and a line that counts all. `all`: also what is well.
    #[must_use]
    pub fn text(&self, all: bool) -> String {
        let mut text = String::new();
        for section in &self.0 {
            let mut shown: Vec<_> = section.findings.iter().collect();
            shown.retain(|finding| all || finding.severity >= Severity::Note);
            // The worst first, each kind together.
            shown.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.kind.id));
            text += &format!("{}\n", section.title);
            if shown.is_empty() {
                text += "  nothing is wrong\n";
            }
            shown
                .into_iter()
                .for_each(|finding| text += &lines(finding));
        }
        let count = |severity| self.count(severity);
        text += &format!(
            "{} failures, {} warnings, {} notes, {} ok, {} not run",
            count(Severity::Failure),
            count(Severity::Warning),
            count(Severity::Note),
            count(Severity::Ok),
            count(Severity::NotRun)
        );
        text
    }

    /// The same as one JSON object, always with everything.
    #[must_use]
    pub fn json(&self) -> String {
        let sections = self.0.iter();
        let findings = sections.flat_map(|section| {
            let findings = section.findings.iter();
            findings.map(|finding| Entry::of(finding, &section.title))
        });
        let whole = Whole {
            status: self.status(),
            failures: self.count(Severity::Failure),
            warnings: self.count(Severity::Warning),
            notes: self.count(Severity::Note),
            ok: self.count(Severity::Ok),
            not_run: self.count(Severity::NotRun),
            findings: findings.collect(),
        };
        serde_json::to_string_pretty(&whole).unwrap_or_default()
    }
}

fn lines(finding: &Finding) -> String {
    let severity = finding.severity.name();
    let (id, object, found) = (finding.kind.id, &finding.object, &finding.found);
    let mut text = format!("  {severity:<8} {id} {object}: {found}");
    if let Some(since) = finding.since {
        text += &format!(" (since {})", date(since));
    }
    text.push('\n');
    if !finding.fix.is_empty() {
        text += &format!("           -> {}\n", finding.fix);
    }
    text
}

/// `2026-11-29T12:00:00Z`
fn date(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn report(severities: &[Severity]) -> Report {
        let finding = |severity: &Severity| {
            let found = table::ORPHAN.found("image a", "no key names it", "rbd rm a");
            found.with_severity(*severity).since(1_795_914_001)
        };
        Report(vec![Section {
            title: "SR vms".to_owned(),
            findings: severities.iter().map(finding).collect(),
        }])
    }

    #[test]
    fn the_exit_status_is_that_of_the_worst_finding() {
        let status = |severities: &[Severity]| report(severities).status();
        assert_eq!(status(&[Severity::Ok, Severity::Note, Severity::NotRun]), 0);
        assert_eq!(status(&[Severity::Warning, Severity::Ok]), 1);
        assert_eq!(status(&[Severity::Warning, Severity::Failure]), 2);
    }

    #[test]
    fn the_text_shows_the_worst_first_and_leaves_out_what_is_well() {
        let text = report(&[Severity::Ok, Severity::Warning, Severity::Failure]).text(false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "SR vms");
        assert!(lines[1].starts_with("  FAILURE  SMB-F"), "{text}");
        assert!(lines[1].ends_with("(since 2026-11-29T01:00:01Z)"), "{text}");
        assert_eq!(lines[2], "           -> rbd rm a");
        assert!(lines[3].starts_with("  warning  "), "{text}");
        let last = "1 failures, 1 warnings, 0 notes, 1 ok, 0 not run";
        assert_eq!(lines[5], last);
    }

    #[test]
    fn a_report_without_trouble_states_so() {
        let text = report(&[Severity::Ok]).text(false);
        assert!(text.contains("nothing is wrong"), "{text}");
    }

    #[test]
    fn the_json_has_each_finding_with_its_id() {
        let json = report(&[Severity::Failure, Severity::Ok]).json();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        assert_eq!(json["status"], 2);
        assert_eq!(json["findings"][0]["id"], table::ORPHAN.id);
        assert_eq!(json["findings"][0]["severity"], "failure");
        assert_eq!(json["findings"][1]["severity"], "ok");
        assert_eq!(json["findings"][0]["since"], "2026-11-29T01:00:01Z");
    }
}
