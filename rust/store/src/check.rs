//! The administrator's pre-flight: whether this host can serve an SR with a device-config, part by
//! part, and for each part that it cannot, the command that mends it.
//!
//! Nothing is changed but that the kernel's rbd module is loaded: what a user may do is found out
//! by requests that an authorised cluster refuses for another reason. One connection is made. Every wait has a deadline.

mod caps;
mod ceph;
mod defaults;
mod fencing;
mod files;
mod local;
mod monitors;
mod report;
mod unreachable;

use std::fmt;
use std::time::Duration;

use hostdev::Krbd;
use librbd::ConnectOptions;

use crate::caps::Caps;
use crate::device_config::DeviceConfig;

pub use self::report::CheckReport;

/// What one part of the check came to.
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
        /// What mends it.
        remedy: String,
    },
    /// No SR works here until this is mended.
    Failed {
        /// What is wrong.
        found: String,
        /// What mends it.
        remedy: String,
    },
    /// This could not be looked at.
    NotRun {
        /// What has to be mended first.
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
    pub(crate) fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Warning {
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed {
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn on(self, topic: &'static str) -> CheckLine {
        CheckLine {
            topic,
            outcome: self,
        }
    }
}

/// `ok       pool: ...`, with what mends it on a second line.
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

/// Checks this host, and the cluster as seen from it, with the driver's own deadline. `others`: the
/// device-configs of this host's other SRs, whose pools the same user must go on serving.
#[must_use]
pub fn check(config: &DeviceConfig, others: &[DeviceConfig]) -> Vec<CheckLine> {
    check_beside(config, others, ConnectOptions::DEFAULT_TIMEOUT)
}

/// The same with another `deadline` for connecting and for each request after that.
#[must_use]
pub fn check_within(config: &DeviceConfig, deadline: Duration) -> Vec<CheckLine> {
    check_beside(config, &[], deadline)
}

fn check_beside(
    config: &DeviceConfig,
    others: &[DeviceConfig],
    deadline: Duration,
) -> Vec<CheckLine> {
    let mut lines = local::prerequisites(config, &Caps::new(config, others).make(), deadline);
    let blocked = lines.iter().find(|line| line.is_failure());
    let cluster = match blocked {
        None => ceph::lines(config, &Caps::new(config, others), deadline),
        Some(line) => not_run(
            &ceph::TOPICS,
            &format!("{} has to be mended first", line.topic),
        ),
    };
    for line in cluster {
        // What connecting found out about a file stands on the line of that file.
        match lines.iter_mut().find(|other| other.topic == line.topic) {
            Some(other) => *other = line,
            None => lines.push(line),
        }
    }
    lines.extend(local::kernel(config, &Krbd::new(), deadline));
    lines
}

fn not_run(topics: &[&'static str], because: &str) -> Vec<CheckLine> {
    let line = |&topic| {
        let because = because.to_owned();
        Outcome::NotRun { because }.on(topic)
    };
    topics.iter().map(line).collect()
}
