//! The state of an upstairs: `/info` of the server's control address.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{http, Error};

/// The reply to `/info`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Info {
    /// Whether it serves I/O.
    pub state: UpstairsState,
    /// The state of the connection to each downstairs, in the order of the `--target` options:
    /// `active`, `connecting (wait_quorum)`, `live_repair`, `stopping (disabled)`, ...
    #[serde(rename = "ds_state", deserialize_with = "downstairs_states")]
    pub downstairs: Vec<String>,
    /// Requests that it has not replied to yet.
    #[serde(default)]
    pub up_jobs: usize,
    /// Requests that its downstairs have not finished yet.
    #[serde(default)]
    pub ds_jobs: usize,
    /// Extents reconciled since the start, of [`Self::reconcile_needed`].
    #[serde(default)]
    pub reconcile_done: usize,
    /// Extents that differed among the downstairs at the start.
    #[serde(default)]
    pub reconcile_needed: usize,
}

/// The state of an upstairs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum UpstairsState {
    /// It waits for its downstairs, or another upstairs took the volume from it.
    Initializing,
    /// It serves I/O.
    Active,
    /// It stops serving.
    Deactivating,
    /// A state of a newer Crucible.
    Other(String),
}

impl From<String> for UpstairsState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "initializing" => Self::Initializing,
            "active" => Self::Active,
            "deactivating" => Self::Deactivating,
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for UpstairsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initializing => "initializing",
            Self::Active => "active",
            Self::Deactivating => "deactivating",
            Self::Other(text) => text,
        })
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, downstairs: {}",
            self.state,
            self.downstairs.join(", ")
        )
    }
}

/// Gets the state of the upstairs at that control address.
///
/// # Errors
/// [`Error::Control`] if it sends no such reply in time.
pub fn info(control: SocketAddr, deadline: Duration) -> Result<Info, Error> {
    http::get(control, "/info", deadline).map_err(|reason| Error::Control {
        address: control,
        reason,
    })
}

fn downstairs_states<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let states = Vec::<Value>::deserialize(deserializer)?;
    Ok(states.iter().map(tagged).collect())
}

/// Returns `connecting (wait_quorum)` for `{"type": "connecting", "value": {"state": {"type":
/// "wait_quorum"}, ...}}`.
fn tagged(state: &Value) -> String {
    let name = |value: &Value| value.get("type")?.as_str().map(str::to_owned);
    let Some(outer) = name(state) else {
        return state
            .as_str()
            .map_or_else(|| state.to_string(), str::to_owned);
    };
    let value = &state["value"];
    match (
        name(&value["state"]).or_else(|| name(value)),
        value["value"].as_str(),
    ) {
        (Some(inner), Some(reason)) => format!("{outer} ({inner}: {reason})"),
        (Some(inner), None) => format!("{outer} ({inner})"),
        (None, _) => outer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Info {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_reply_of_an_active_upstairs_is_read_in_full() {
        let info = reply(include_str!("../tests/sim/active.json"));
        assert_eq!(info.state, UpstairsState::Active);
        assert_eq!(info.downstairs, ["active", "active", "live_repair"]);
        assert_eq!((info.reconcile_done, info.reconcile_needed), (4, 4));
        assert_eq!((info.up_jobs, info.ds_jobs), (1, 2));
    }

    #[test]
    fn the_text_of_a_waiting_upstairs_has_the_state_of_each_downstairs() {
        let info = reply(include_str!("../tests/sim/waiting.json"));
        assert_eq!(
            info.to_string(),
            "initializing, downstairs: connecting (wait_quorum), connecting (start), \
             stopping (negotiation_failed: incompatible_settings)"
        );
    }

    #[test]
    fn an_unknown_state_of_an_upstairs_is_not_active() {
        let text = include_str!("../tests/sim/active.json").replacen("active", "hibernating", 1);
        let info = reply(&text);
        assert_eq!(info.state, UpstairsState::Other("hibernating".to_owned()));
        assert!(info.to_string().starts_with("hibernating"), "{info}");
    }
}
