//! Detects that a server was fenced: another one, with a higher generation, has its volume.
//!
//! A fenced server keeps running, listens, and fails every request with an error. Only `/info` shows the
//! fence: an upstairs that was active and is not active now is disabled for good. An upstairs that lost two
//! or three targets stays active and waits for them. A missing reply shows nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::control::{self, UpstairsState};

/// The time between two requests.
const POLL: Duration = Duration::from_secs(2);
const REQUEST_DEADLINE: Duration = Duration::from_secs(1);
/// How many replies in a row must show the fence: the server is then ended.
const REPLIES: u32 = 2;
/// The task of the server that replies to `/info`, in its log.
const CONTROL: &str = "control";
/// The level `info` of its log.
const INFO: u8 = 30;

/// Polls the server at that control address until the returned value is dropped. If the server was fenced,
/// calls `fenced` with the text of its last reply.
pub(super) fn watch(
    control: SocketAddr,
    fenced: impl FnOnce(String) + Send + 'static,
) -> Sender<Infallible> {
    let (keep, kept) = mpsc::channel();
    thread::spawn(move || {
        let mut detector = Detector::default();
        while let Err(RecvTimeoutError::Timeout) = kept.recv_timeout(POLL) {
            let Ok(info) = control::info(control, REQUEST_DEADLINE) else {
                continue;
            };
            if detector.is_fenced(&info.state) {
                return fenced(info.to_string());
            }
        }
    });
    keep
}

#[derive(Default)]
struct Detector {
    was_active: bool,
    inactive_replies: u32,
}

impl Detector {
    /// Adds the state of the next reply, and returns whether the server was fenced.
    fn is_fenced(&mut self, state: &UpstairsState) -> bool {
        match state {
            UpstairsState::Active => {
                self.was_active = true;
                self.inactive_replies = 0;
            }
            UpstairsState::Initializing | UpstairsState::Deactivating if self.was_active => {
                self.inactive_replies += 1;
            }
            _ => {}
        }
        self.inactive_replies >= REPLIES
    }
}

/// Returns whether a line of the server's log is about a poll. The server logs two for each, which would
/// soon fill this host's log.
pub(super) fn is_about_poll(line: &str) -> bool {
    #[derive(Deserialize)]
    struct Line {
        task: String,
        level: u8,
    }
    serde_json::from_str(line).is_ok_and(|Line { task, level }| task == CONTROL && level <= INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_fenced(states: &[&str]) -> bool {
        let mut detector = Detector::default();
        let results = states
            .iter()
            .map(|state| detector.is_fenced(&UpstairsState::from((*state).to_owned())));
        results.last().unwrap()
    }

    #[test]
    fn an_active_server_that_is_inactive_in_two_replies_is_fenced() {
        assert!(is_fenced(&["active", "initializing", "initializing"]));
        assert!(is_fenced(&["active", "deactivating", "initializing"]));
    }

    #[test]
    fn a_server_without_two_inactive_replies_in_a_row_is_not_fenced() {
        assert!(!is_fenced(&["initializing"; 9]));
        assert!(!is_fenced(&["active", "initializing"]));
        assert!(!is_fenced(&[
            "active",
            "initializing",
            "active",
            "initializing"
        ]));
        assert!(!is_fenced(&["active", "hibernating", "hibernating"]));
    }

    #[test]
    fn log_lines_about_polls_are_recognised() {
        let line = |level: u8, task: &str| {
            format!(r#"{{"msg":"x","v":0,"level":{level},"":"a","":"b","task":"{task}"}}"#)
        };
        assert!(is_about_poll(&line(30, "control")));
        assert!(!is_about_poll(&line(40, "control")));
        assert!(!is_about_poll(&line(30, "nbd")));
        assert!(!is_about_poll("thread 'main' panicked at control"));
    }
}
