//! The end of a process while a request is in flight. Each case is a process of its own: this program
//! again.

use std::env;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use crate::fixture::Fixture;

/// The case, for a child process.
const CASE: &str = "SMBLOCK_TEST_EXIT";
const STATUS: i32 = 7;
const DESTROYED: &str = "the destructor ran";

/// Simulates the destructor of a library.
extern "C" fn destructor() {
    // SAFETY: the text is valid for its length.
    unsafe { nix::libc::write(2, DESTROYED.as_ptr().cast(), DESTROYED.len()) };
}

fn exit_as(case: &str) -> Output {
    let program = env::current_exe().unwrap();
    let arguments = [
        "--ignored",
        "--exact",
        "exit::a_process_exits",
        "--nocapture",
    ];
    let mut command = Command::new(program);
    command.args(arguments).env(CASE, case).output().unwrap()
}

#[test]
#[ignore = "it is the child process of the other test"]
fn a_process_exits() {
    let case = env::var(CASE).unwrap();
    let fixture = Fixture::connect().unwrap();
    // SAFETY: the function takes and returns nothing.
    unsafe { nix::libc::atexit(destructor) };
    let command = json!({"prefix": "rbd task list", "pool_name": fixture.pool.name()});
    let patience = if case == "replied" {
        Duration::from_secs(25)
    } else {
        Duration::ZERO
    };
    let has_reply = match fixture.cluster.mgr_command_within(&command, patience) {
        Ok(reply) => reply.is_some(),
        Err(error) if error.errno() == Some(22) => true, // ceph-mgr without this module refuses
        Err(error) => panic!("{error}"),
    };
    assert_eq!(has_reply, case == "replied");
    drop(fixture);
    std::process::exit(STATUS);
}

#[test]
fn a_process_with_a_request_in_flight_exits_without_destructors() {
    if Fixture::connect().is_none() {
        return;
    }
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let abandoned = exit_as("abandoned");
    let shown = text(&abandoned);
    assert_eq!(abandoned.status.code(), Some(STATUS), "{shown}");
    assert!(!shown.contains(DESTROYED));
    let replied = exit_as("replied");
    let shown = text(&replied);
    assert_eq!(replied.status.code(), Some(STATUS), "{shown}");
    assert!(shown.contains(DESTROYED));
}
