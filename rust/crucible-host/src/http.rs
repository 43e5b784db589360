//! GET with a deadline, for the HTTP servers in Crucible's programs.
//!
//! They reply with chunked or plain bodies, and with errors in JSON. The client `ureq`, built without TLS,
//! supports both, and has one deadline for the whole request.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::Agent;

/// Far above the longest reply of these servers.
const BODY_LIMIT: u64 = 1 << 20;

/// Returns the JSON of `http://server/path`; the error is one line of text.
pub(crate) fn get<T: DeserializeOwned>(
    server: SocketAddr,
    path: &str,
    deadline: Duration,
) -> Result<T, String> {
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .timeout_global(Some(deadline))
            // A proxy of the environment cannot reach this host's loopback.
            .proxy(None)
            .max_redirects(0)
            .build(),
    );
    let body = agent
        .get(format!("http://{server}{path}"))
        .call()
        .and_then(|mut response| {
            response
                .body_mut()
                .with_config()
                .limit(BODY_LIMIT)
                .read_to_vec()
        })
        .map_err(|error| match error {
            ureq::Error::Io(error) => hostos::errno::describe_io(&error),
            other => other.to_string(),
        })?;
    serde_json::from_slice(&body).map_err(|error| format!("unexpected reply: {error}"))
}
