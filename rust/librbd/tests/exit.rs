//! The end of a process while a request is in flight. Each case is a process of its own: this program
//! again.
#![allow(clippy::unwrap_used)]

#[path = "cluster/lab.rs"]
#[allow(dead_code)]
mod lab;

use std::env;
use std::process::{Command, Output};
use std::time::Duration;

use lab::Lab;
use serde_json::json;

/// Set for a process that is to exit; its value is the case.
const CASE: &str = "SMBLOCK_TEST_EXIT";
const STATUS: i32 = 7;
const TORN_DOWN: &str = "torn down";

/// Stands for the destructor of a library.
extern "C" fn destructor() {
    // SAFETY: the text is valid for its length.
    unsafe { nix::libc::write(2, TORN_DOWN.as_ptr().cast(), TORN_DOWN.len()) };
}

fn exit_as(case: &str) -> Output {
    let program = env::current_exe().unwrap();
    let arguments = [
        "--ignored",
        "--exact",
        "a_process_exits_as_its_case_says",
        "--nocapture",
    ];
    let mut command = Command::new(program);
    command.args(arguments).env(CASE, case).output().unwrap()
}

#[test]
#[ignore = "a process of the other test's"]
fn a_process_exits_as_its_case_says() {
    let case = env::var(CASE).unwrap();
    let lab = Lab::connect().unwrap();
    // SAFETY: the function takes and returns nothing.
    unsafe { nix::libc::atexit(destructor) };
    let command = json!({"prefix": "rbd task list", "pool_name": lab.pool.name()});
    let patience = if case == "answered" {
        Duration::from_secs(25)
    } else {
        Duration::ZERO
    };
    let is_answered = match lab.cluster.mgr_command_within(&command, patience) {
        Ok(answer) => answer.is_some(),
        Err(error) if error.errno() == Some(22) => true, // a manager without this module refuses
        Err(error) => panic!("{error}"),
    };
    assert_eq!(is_answered, case == "answered");
    drop(lab);
    std::process::exit(STATUS);
}

#[test]
fn a_process_ends_without_destructors_while_a_request_is_in_flight() {
    if Lab::connect().is_none() {
        return;
    }
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let left = exit_as("given up");
    assert_eq!(left.status.code(), Some(STATUS), "{}", text(&left));
    assert!(!text(&left).contains(TORN_DOWN));
    let answered = exit_as("answered");
    assert_eq!(answered.status.code(), Some(STATUS), "{}", text(&answered));
    assert!(text(&answered).contains(TORN_DOWN));
}
