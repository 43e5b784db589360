//! What an upstairs says about itself: `/info` of the server's control address.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{http, Error};

/// The answer of `/info`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Info {
    /// Whether it serves I/O.
    pub state: UpstairsState,
    /// How it gets on with each of its downstairs, in the order of the targets it was started with:
    /// `active`, `connecting (wait_quorum)`, `live_repair`, `stopping (disabled)`, ...
    #[serde(rename = "ds_state", deserialize_with = "downstairs_states")]
    pub downstairs: Vec<String>,
    /// Requests it has not answered yet.
    #[serde(default)]
    pub up_jobs: usize,
    /// Requests its downstairs have not finished yet.
    #[serde(default)]
    pub ds_jobs: usize,
    /// Extents reconciled since the start, of [`Self::reconcile_needed`].
    #[serde(default)]
    pub reconcile_done: usize,
    /// Extents that differed among the downstairs at the start.
    #[serde(default)]
    pub reconcile_needed: usize,
}

/// What an upstairs does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum UpstairsState {
    /// It waits for its downstairs, or another upstairs took the volume from it.
    Initializing,
    /// It serves I/O.
    Active,
    /// It stops serving.
    Deactivating,
    /// Something a newer Crucible says.
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

/// Asks the upstairs behind that control address.
///
/// # Errors
/// [`Error::Control`] if it gives no such answer in time.
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

/// `{"type": "connecting", "value": {"state": {"type": "wait_quorum"}, ...}}` and the like, in words.
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

    fn answer(text: &str) -> Info {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_active_upstairs_is_recognised_with_all_it_says() {
        let info = answer(include_str!("../tests/standin/active.json"));
        assert_eq!(info.state, UpstairsState::Active);
        assert_eq!(info.downstairs, ["active", "active", "live_repair"]);
        assert_eq!((info.reconcile_done, info.reconcile_needed), (4, 4));
        assert_eq!((info.up_jobs, info.ds_jobs), (1, 2));
    }

    #[test]
    fn an_upstairs_that_waits_says_in_words_how_it_gets_on_with_each_downstairs() {
        let info = answer(include_str!("../tests/standin/waiting.json"));
        assert_eq!(
            info.to_string(),
            "initializing, downstairs: connecting (wait_quorum), connecting (start), \
             stopping (negotiation_failed: incompatible_settings)"
        );
    }

    #[test]
    fn a_state_that_a_newer_crucible_knows_is_told_as_it_is_and_never_taken_for_active() {
        let text =
            include_str!("../tests/standin/active.json").replacen("active", "hibernating", 1);
        let info = answer(&text);
        assert_eq!(info.state, UpstairsState::Other("hibernating".to_owned()));
        assert!(info.to_string().starts_with("hibernating"), "{info}");
    }
}
