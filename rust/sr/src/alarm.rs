//! Alarms: findings that an administrator must see, as messages of XAPI with the name `ALARM`.
//!
//! Xen Orchestra and xapi's mail-alarm show messages of this name only, in the form of [`body`]. [`table`] has
//! the alarms: each covers some kinds of findings. An alarm is raised once for each new thing that it is about,
//! over the whole pool, and its message is destroyed when nothing of it is left.
//!
//! What was raised is noted in the `other_config` of the SR: two keys for each alarm, which survive reboots and
//! a change of the master. XAPI adds a key only if it does not exist. So, of two hosts that raise an alarm at
//! the same time, one does:
//!
//! 1. Add the key `smblock_alarm.…`, with the identities of what was found. If it exists, stop.
//! 2. Create the message. If that fails, remove the key: the next check tries again.
//! 3. Add the key `smblock_alarm_message.…`, with the message's reference.
//!
//! An event that comes while the alarm is raised about others adds a message to it.
//!
//! A process that dies after step 1 leaves a key without a message. The next check marks the key, and the one
//! after it creates the message: nothing that raises an alarm takes as long as the time between two checks.
//! A process that dies between step 2 and 3 makes a second message.
//!
//! What is about the SR is raised by one host, [`CheckFacts::is_leader`], and what is about a host by this host.
//! An event, such as a declaration of death, is raised by the host that finds it, without waiting for the check.

mod alarming;
pub mod body;
mod facts;
#[cfg(any(test, feature = "sim"))]
pub mod memory;
mod note;
pub mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests;
mod update;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::finding::{Finding, Kind};
use crate::host::Result;

pub use self::facts::{not_shared, CheckFacts, HostState};
pub use self::table::{AlarmType, Scope};
pub use self::update::{update, update_alone};

/// The name of every message.
pub const NAME: &str = "ALARM";

/// A message of XAPI with the name [`NAME`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// XAPI's priority: 2 if a service may fail, 3 for a warning.
    pub priority: u8,
    /// XAPI's class of the object: `SR` or `Host`.
    pub class: &'static str,
    /// The UUID of the object.
    pub object: String,
    /// The text, in the form of [`body`].
    pub body: String,
}

/// The calls of XAPI that alarms need, for one SR.
pub trait Board {
    /// Returns the keys of the SR's `other_config`.
    fn notes(&self) -> Result<BTreeMap<String, String>>;
    /// Adds a key. Returns `false`, and changes nothing, if it exists.
    fn add_note(&self, key: &str, value: &str) -> Result<bool>;
    /// Removes a key, if it exists.
    fn remove_note(&self, key: &str) -> Result<()>;
    /// Creates a message. Returns its reference.
    fn raise(&self, message: &Message) -> Result<String>;
    /// Destroys a message, if it exists.
    fn destroy(&self, message: &str) -> Result<()>;
}

/// What was found about one SR, as far as alarms may be about it.
#[derive(Debug, Clone)]
pub struct Report {
    /// The SR.
    pub sr: Uuid,
    /// The alarms whose kinds of findings were looked for. The others stay as they are.
    pub looked_at: Vec<&'static AlarmType>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// The pool. `None` for an event: then nothing is cleared, and any host may raise what is about the SR.
    pub facts: Option<CheckFacts>,
}

impl Report {
    /// An event, outside the check that comes every ten minutes.
    #[must_use]
    pub fn event(sr: Uuid, findings: Vec<Finding>) -> Self {
        let types = table::ALARM_TYPES.iter().copied();
        let concerned = types.filter(|alarm| findings.iter().any(|f| alarm.covers(f.kind)));
        Report {
            sr,
            looked_at: concerned.collect(),
            findings,
            facts: None,
        }
    }
}

impl AlarmType {
    /// Whether findings of this kind raise the alarm.
    #[must_use]
    pub fn covers(&self, kind: &Kind) -> bool {
        self.kinds.contains(&kind)
    }
}
