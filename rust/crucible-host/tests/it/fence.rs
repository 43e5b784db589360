//! A server whose volume a server of another host has taken.

use std::time::Duration;

use crucible_host::server::How;
use nix::sys::signal::Signal;

use crate::host::{send, Host};

/// Long enough for three polls of a server.
const A_WHILE: Duration = Duration::from_millis(6500);

#[test]
fn a_fenced_server_is_ended_even_if_it_ignores_sigterm() {
    let polite = Host::new(20, "nbd-server");
    let stubborn = Host::new(21, "stubborn");
    let servers = [&polite, &stubborn].map(|host| host.ready().server.unwrap());
    // The supervisors find them active first.
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
fn a_server_that_does_not_reply_for_a_while_is_not_fenced() {
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
