//! What XAPI has of an alarm that was raised: two keys of the SR's `other_config`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{AlarmType, Scope};

const NOTE: &str = "smblock_alarm.";
const MESSAGE: &str = "smblock_alarm_message.";

/// The value of the first key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The identities of what the alarm is about.
    pub of: BTreeSet<String>,
    /// Whether a check has found the key without a message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

impl Note {
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An alarm as XAPI has it.
pub(super) struct Noted {
    subject: String,
    /// `None` if the alarm is not raised. A value that cannot be read counts as one about nothing.
    pub note: Option<Note>,
    /// The references of its messages. None if it was not created.
    pub messages: Vec<String>,
}

impl Noted {
    pub fn of(alarm: &AlarmType, host: &str, notes: &BTreeMap<String, String>) -> Self {
        let subject = match alarm.scope {
            Scope::Sr => alarm.name.to_owned(),
            Scope::Host => format!("{}.{host}", alarm.name),
        };
        Self::about(subject, notes)
    }

    fn about(subject: String, notes: &BTreeMap<String, String>) -> Self {
        let note = notes.get(&format!("{NOTE}{subject}"));
        let messages = notes.get(&format!("{MESSAGE}{subject}"));
        let messages = messages.map_or("", String::as_str).split_whitespace();
        Noted {
            note: note.map(|text| serde_json::from_str(text).unwrap_or_default()),
            messages: messages.map(ToOwned::to_owned).collect(),
            subject,
        }
    }

    /// Those of other hosts than these.
    pub fn of_other_hosts(
        notes: &BTreeMap<String, String>,
        has_host: impl Fn(&str) -> bool,
    ) -> Vec<Self> {
        let subjects = notes.keys().filter_map(|key| key.strip_prefix(NOTE));
        let gone = subjects.filter(|subject| {
            subject
                .split_once('.')
                .is_some_and(|(_, host)| !has_host(host))
        });
        gone.map(|subject| Self::about(subject.to_owned(), notes))
            .collect()
    }

    pub fn note_key(&self) -> String {
        format!("{NOTE}{}", self.subject)
    }

    pub fn message_key(&self) -> String {
        format!("{MESSAGE}{}", self.subject)
    }
}
