//! The lines of a check as findings: each part of a check is a kind of its own.

use std::fmt::Display;

use uuid::Uuid;

use super::{table, Finding, Severity};
use crate::check::{CheckLine, Outcome};
use crate::engine;

/// The findings of a check on this host.
#[must_use]
pub fn of_check(lines: &[CheckLine]) -> Vec<Finding> {
    lines.iter().map(finding).collect()
}

/// The findings of a check that may not have been possible.
#[must_use]
pub fn checked(lines: engine::Result<Vec<CheckLine>>, sr: &Uuid) -> Vec<Finding> {
    match lines {
        Ok(lines) => of_check(&lines),
        Err(error) => vec![unreadable(sr, error)],
    }
}

/// What was found about an SR that may not have been readable.
#[must_use]
pub fn doctored(found: engine::Result<Vec<Finding>>, sr: &Uuid) -> Vec<Finding> {
    found.unwrap_or_else(|error| vec![unreadable(sr, error)])
}

/// The SR could not be looked at.
#[must_use]
pub fn unreadable(sr: impl Display, error: impl ToString) -> Finding {
    table::NO_CATALOGUE.found(format!("SR {sr}"), error.to_string(), "")
}

/// The SR was not looked at, for that reason.
#[must_use]
pub fn not_looked_at(sr: &Uuid, reason: &str) -> Finding {
    unreadable(sr, reason).with_severity(Severity::NotRun)
}

fn finding(line: &CheckLine) -> Finding {
    let kind = table::of_topic(line.topic);
    let (severity, found, fix) = match &line.outcome {
        Outcome::Ok(found) => (Severity::Ok, found, ""),
        Outcome::Warning { found, remedy } => (Severity::Warning, found, remedy.as_str()),
        Outcome::Failed { found, remedy } => (Severity::Failure, found, remedy.as_str()),
        Outcome::NotRun { because } => (Severity::NotRun, because, ""),
    };
    let found = kind.found(line.topic, found.as_str(), fix);
    found.with_severity(severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_check_becomes_a_finding_of_its_part() {
        let lines = [
            Outcome::Ok("they reply".to_owned()).on("monitors"),
            Outcome::failed("no pool vms", "make it").on("pool"),
            Outcome::warning("slow", "wait").on("a part of a later version"),
        ];
        let findings = of_check(&lines);
        let severities = findings.iter().map(|finding| finding.severity);
        assert_eq!(
            severities.collect::<Vec<_>>(),
            [Severity::Ok, Severity::Failure, Severity::Warning]
        );
        assert_ne!(findings[0].kind.id, findings[1].kind.id);
        assert_eq!(findings[1].fix, "make it");
        assert_eq!(findings[2].kind, &table::OTHER_PART);
    }
}
