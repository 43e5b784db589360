//! How much a finding matters, and the thresholds of what is measured in percent.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// Could not be looked at.
    #[serde(rename = "not run")]
    NotRun,
    /// No trouble: nothing has to be done.
    Note,
    /// Works, and is not as it should be.
    Warning,
    /// Something does not work, or data is in danger.
    Failure,
}

impl Severity {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotRun => "not run",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        }
    }
}

/// Percent at which a finding has a severity, the highest first.
const LEVELS: [(u64, Severity); 2] = [(95, Severity::Failure), (85, Severity::Warning)];
/// How many percent below its threshold a level ends, so that a value that swings raises one alarm.
const HYSTERESIS: u64 = 3;

/// Returns the severity of a value in percent, and the threshold that it has reached. `was_at`: whether the
/// value had that severity before.
pub(crate) fn level(percent: u64, was_at: impl Fn(Severity) -> bool) -> Option<(Severity, u64)> {
    let reached = LEVELS.into_iter().find(|(threshold, severity)| {
        percent >= *threshold || (was_at(*severity) && percent + HYSTERESIS > *threshold)
    });
    reached.map(|(threshold, severity)| (severity, threshold))
}

/// Returns the severity of a value in percent.
pub(super) fn severity_of(percent: u64) -> Severity {
    level(percent, |_| false).map_or(Severity::Ok, |(severity, _)| severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_begins_at_its_threshold_and_ends_three_percent_below() {
        let severities = [84, 85, 94, 95].map(severity_of);
        use Severity::{Failure, Ok, Warning};
        assert_eq!(severities, [Ok, Warning, Warning, Failure]);
        let after = |before, percent| level(percent, |severity| severity == before);
        assert_eq!(after(Warning, 83), Some((Warning, 85)));
        assert_eq!(after(Warning, 82), None);
        assert_eq!(after(Failure, 93), Some((Failure, 95)));
        assert_eq!(after(Failure, 92), Some((Warning, 85)));
    }
}
