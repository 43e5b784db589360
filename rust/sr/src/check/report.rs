//! The whole report, as text and as JSON.

use serde::Serialize;

use super::{CheckLine, Outcome};

/// All lines, with their totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport(Vec<CheckLine>);

#[derive(Serialize)]
struct Part<'l> {
    topic: &'l str,
    verdict: &'static str,
    text: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'l str>,
}

#[derive(Serialize)]
struct Whole<'l> {
    ok: usize,
    warnings: usize,
    failed: usize,
    not_run: usize,
    parts: Vec<Part<'l>>,
}

impl CheckReport {
    /// A report of these lines.
    #[must_use]
    pub fn new(lines: Vec<CheckLine>) -> Self {
        Self(lines)
    }

    /// Whether an SR works here.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.0.iter().any(CheckLine::is_failure)
    }

    fn whole(&self) -> Whole<'_> {
        let parts: Vec<_> = self.0.iter().map(part).collect();
        let count = |verdict| parts.iter().filter(|part| part.verdict == verdict).count();
        Whole {
            ok: count("ok"),
            warnings: count("warning"),
            failed: count("failed"),
            not_run: count("not run"),
            parts,
        }
    }

    /// A line for each part, and a line that sums them up.
    #[must_use]
    pub fn text(&self) -> String {
        let whole = self.whole();
        let mut text: String = self.0.iter().map(|line| format!("{line}\n")).collect();
        text += &format!(
            "{} ok, {} warnings, {} failed, {} not run",
            whole.ok, whole.warnings, whole.failed, whole.not_run
        );
        text
    }

    /// The same as one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.whole()).unwrap_or_default()
    }
}

fn part(line: &CheckLine) -> Part<'_> {
    let (verdict, text, remedy) = match &line.outcome {
        Outcome::Ok(found) => ("ok", found, None),
        Outcome::Warning { found, remedy } => ("warning", found, Some(remedy.as_str())),
        Outcome::Failed { found, remedy } => ("failed", found, Some(remedy.as_str())),
        Outcome::NotRun { because } => ("not run", because, None),
    };
    Part {
        topic: line.topic,
        verdict,
        text,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> CheckReport {
        CheckReport::new(vec![
            Outcome::Ok("there".to_owned()).on("monitors"),
            Outcome::warning("slow", "wait").on("clock"),
            Outcome::failed("no pool vms", "make it").on("pool"),
        ])
    }

    #[test]
    fn the_last_line_counts_the_verdicts() {
        let text = report().text();
        let last = text.lines().last();
        assert_eq!(last, Some("1 ok, 1 warnings, 1 failed, 0 not run"));
        assert!(!report().is_healthy());
    }

    #[test]
    fn the_json_has_the_same_parts() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap_or_default();
        assert_eq!(json["failed"], 1);
        assert_eq!(json["parts"][2]["remedy"], "make it");
        assert_eq!(json["parts"][0]["remedy"], serde_json::Value::Null);
    }
}
