//! Findings: what is not as it should be about a host, an SR or its storage, for people and for programs.
//!
//! Each finding is of a [`Kind`], with an id that never changes its meaning: [`table`] lists all of
//! them. What an SR type, the command `smblock doctor`, alerts and metrics show about an SR is made of this
//! one list.

mod from_check;
mod page;
mod report;
mod severity;
pub mod table;

use uuid::Uuid;

pub use self::from_check::{checked, doctored, not_looked_at, of_check, unreadable};
pub use self::page::page;
pub use self::report::{Entry, Report, Section};
pub(crate) use self::severity::level;
pub use self::severity::Severity;

/// What kind of finding it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The id, `SMB-F` and three digits. It is never used for another kind.
    pub id: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// How much it matters, usually.
    pub severity: Severity,
    /// What it means, and what usually causes it.
    pub meaning: &'static str,
}

impl Kind {
    /// A finding of this kind about an object, with the kind's usual severity. `fix` is a command that can
    /// be typed, or what to do.
    pub fn found(
        &'static self,
        object: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding {
            kind: self,
            severity: self.severity,
            object: object.into(),
            found: found.into(),
            fix: fix.into(),
            since: None,
            remedy: None,
            percent: None,
            event: None,
        }
    }
}

/// What a repair may do about a finding without a risk to data. SM's files and XAPI's keys are the front's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Remove a key of a VDI's `sm_config`.
    RemoveKey {
        /// The VDI.
        vdi: Uuid,
        /// The key.
        key: String,
    },
    /// Have a host remove what it has of a VDI, and its note in `sm_config`, unless it uses the VDI.
    SettleHost {
        /// The VDI.
        vdi: Uuid,
        /// XAPI's reference of the host.
        host: String,
    },
    /// Remove a link of this host to a device that does not exist.
    RemoveLink {
        /// The VDI.
        vdi: Uuid,
        /// The link.
        path: String,
    },
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind it is.
    pub kind: &'static Kind,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: `VDI <UUID>`, `image <name>`, `host <UUID>`.
    pub object: String,
    /// What was found, in one sentence.
    pub found: String,
    /// How to fix it; empty if nothing has to be done.
    pub fix: String,
    /// Since when, in seconds since 1970, if that is known.
    pub since: Option<u64>,
    /// What a repair may do about it.
    pub remedy: Option<Remedy>,
    /// What was measured, in percent, if the severity depends on that.
    pub percent: Option<u64>,
    /// What distinguishes this finding from an earlier one about the same object, if the object does not: a new one
    /// raises a new alarm.
    pub event: Option<String>,
}

impl Finding {
    /// The same with another severity.
    #[must_use]
    pub fn with_severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// The same with the time, in seconds since 1970, since when it is so.
    #[must_use]
    pub fn since(self, since: u64) -> Self {
        let since = Some(since);
        Self { since, ..self }
    }

    /// The same with what a repair may do about it.
    #[must_use]
    pub fn with_remedy(self, remedy: Remedy) -> Self {
        let remedy = Some(remedy);
        Self { remedy, ..self }
    }

    /// The same as a measurement in percent, with the severity that this has.
    #[must_use]
    pub fn measured(self, percent: u64) -> Self {
        let severity = severity::severity_of(percent);
        Self {
            severity,
            percent: Some(percent),
            ..self
        }
    }

    /// The same as that event.
    #[must_use]
    pub fn event(self, event: impl Into<String>) -> Self {
        let event = Some(event.into());
        Self { event, ..self }
    }

    /// Whether something is wrong: it is a warning or a failure.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        self.severity >= Severity::Warning
    }

    /// Whether two findings are the same one, found at two times: the texts may differ.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind.id == other.kind.id && self.object == other.object
    }
}
