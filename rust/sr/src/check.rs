//! The lines of the administrator's pre-flight: what was found for each part, and how to fix it.

mod report;

use std::fmt;

pub use self::report::CheckReport;

/// The result for one part of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLine {
    /// The part.
    pub topic: &'static str,
    /// What was found.
    pub outcome: Outcome,
}

/// What was found, one line of text each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Ok(String),
    /// An SR works, but less well than it could.
    Warning {
        /// What is not as it should be.
        found: String,
        /// How to fix it.
        remedy: String,
    },
    /// No SR works here until this is fixed.
    Failed {
        /// What is wrong.
        found: String,
        /// How to fix it.
        remedy: String,
    },
    /// This was not checked.
    NotRun {
        /// What has to be fixed first.
        because: String,
    },
}

impl CheckLine {
    /// Whether no SR works here because of this.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }
}

impl Outcome {
    /// A warning, with the fix.
    pub fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Warning {
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    /// A failure, with the fix.
    pub fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed {
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    /// The line for that part.
    pub fn on(self, topic: &'static str) -> CheckLine {
        CheckLine {
            topic,
            outcome: self,
        }
    }
}

/// `ok       pool: ...`, with the fix on a second line.
impl fmt::Display for CheckLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = self.topic;
        match &self.outcome {
            Outcome::Ok(found) => write!(f, "ok       {topic}: {found}"),
            Outcome::Warning { found, remedy } => {
                write!(f, "warning  {topic}: {found}\n         -> {remedy}")
            }
            Outcome::Failed { found, remedy } => {
                write!(f, "FAILED   {topic}: {found}\n         -> {remedy}")
            }
            Outcome::NotRun { because } => write!(f, "not run  {topic}: {because}"),
        }
    }
}
