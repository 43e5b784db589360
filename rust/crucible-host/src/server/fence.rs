//! Whether a server was fenced: another one, with a higher generation, has its volume.
//!
//! A fenced server lives on, listens, and answers every request with an error. Only `/info` tells:
//! an upstairs that was active and is not any more was disabled for good. One that merely lost its
//! targets, two of them or all three, stays active and waits for them; and one that does not answer
//! has said nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::control::{self, UpstairsState};

/// How often the server is asked.
const LOOK: Duration = Duration::from_secs(2);
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// How many answers in a row it takes: a server is ended on them.
const ANSWERS: u32 = 2;
/// The task of the server's that answers, in its log.
const CONTROL: &str = "control";
/// The level of its log for what is as it should be.
const INFO: u8 = 30;

/// Asks the server behind that control address until what is returned is dropped. If it is found
/// to be fenced, `tell` is given what it says of itself.
pub(super) fn watch(
    control: SocketAddr,
    tell: impl FnOnce(String) + Send + 'static,
) -> Sender<Infallible> {
    let (keep, kept) = mpsc::channel();
    thread::spawn(move || {
        let mut answers = Answers::default();
        while let Err(RecvTimeoutError::Timeout) = kept.recv_timeout(LOOK) {
            let Ok(info) = control::info(control, LOOK_DEADLINE) else {
                continue;
            };
            if answers.tell_fenced(&info.state) {
                return tell(info.to_string());
            }
        }
    });
    keep
}

/// What the answers so far amount to.
#[derive(Default)]
struct Answers {
    was_active: bool,
    against: u32,
}

impl Answers {
    /// With one more of them.
    fn tell_fenced(&mut self, state: &UpstairsState) -> bool {
        match state {
            UpstairsState::Active => {
                self.was_active = true;
                self.against = 0;
            }
            UpstairsState::Initializing | UpstairsState::Deactivating if self.was_active => {
                self.against += 1;
            }
            _ => {}
        }
        self.against >= ANSWERS
    }
}

/// Whether a line of the server's is about being asked. There are two for each time, and a log
/// would soon hold little else.
pub(super) fn is_about_asking(line: &str) -> bool {
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

    fn tell_fenced(states: &[&str]) -> bool {
        let mut answers = Answers::default();
        let told = states
            .iter()
            .map(|state| answers.tell_fenced(&UpstairsState::from((*state).to_owned())));
        told.last().unwrap()
    }

    #[test]
    fn a_server_is_fenced_when_it_was_active_and_says_twice_that_it_is_not() {
        assert!(tell_fenced(&["active", "initializing", "initializing"]));
        assert!(tell_fenced(&["active", "deactivating", "initializing"]));
    }

    #[test]
    fn a_server_that_starts_or_is_active_in_between_or_says_something_new_is_not_fenced() {
        assert!(!tell_fenced(&["initializing"; 9]));
        assert!(!tell_fenced(&["active", "initializing"]));
        assert!(!tell_fenced(&[
            "active",
            "initializing",
            "active",
            "initializing"
        ]));
        assert!(!tell_fenced(&["active", "hibernating", "hibernating"]));
    }

    #[test]
    fn what_crucible_logs_about_each_question_is_told_from_what_it_complains_of() {
        let line = |level: u8, task: &str| {
            format!(r#"{{"msg":"x","v":0,"level":{level},"":"a","":"b","task":"{task}"}}"#)
        };
        assert!(is_about_asking(&line(30, "control")));
        assert!(!is_about_asking(&line(40, "control")));
        assert!(!is_about_asking(&line(30, "nbd")));
        assert!(!is_about_asking("thread 'main' panicked at control"));
    }
}
