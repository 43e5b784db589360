//! What an administrator may rely on about a server that another host's has taken the volume from.
#![allow(clippy::unwrap_used)]

mod host;

use std::time::Duration;

use crucible_host::server::How;
use nix::sys::signal::Signal;

use host::{send, Host};

/// Enough for three looks at a server.
const A_WHILE: Duration = Duration::from_millis(6500);

#[test]
fn a_fenced_server_is_ended_and_says_that_it_was_fenced_also_where_it_ignores_sigterm() {
    let polite = Host::new(20, "nbd-server");
    let stubborn = Host::new(21, "stubborn");
    let servers = [&polite, &stubborn].map(|host| host.ready().server.unwrap());
    // Once they were seen to be active.
    std::thread::sleep(A_WHILE);
    for server in &servers {
        send(server, Signal::SIGUSR1);
    }
    for (host, server) in [&polite, &stubborn].into_iter().zip(&servers) {
        let ended = host.ended();
        assert_eq!((&ended.how, ended.asked), (&How::Fenced, false));
        assert!(!server.is_alive().unwrap());
        let text = ended.to_string();
        assert!(text.starts_with("it was fenced: another server"), "{text}");
        assert!(!text.contains("request completed"), "{text}");
    }
}

#[test]
fn a_server_that_does_not_answer_for_a_while_is_not_taken_for_fenced() {
    let host = Host::new(22, "nbd-server");
    let state = host.ready();
    let server = state.server.clone().unwrap();
    std::thread::sleep(A_WHILE);
    send(&server, Signal::SIGSTOP);
    std::thread::sleep(A_WHILE);
    send(&server, Signal::SIGCONT);
    std::thread::sleep(A_WHILE / 2);
    assert_eq!(host.running(), state);
}
