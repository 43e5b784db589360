//! A cluster that does not answer: an error within the deadline, and no hang afterwards.
//!
//! Needs no cluster, only its client libraries, of whatever release from Nautilus on.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use librbd::{Cluster, ConnectOptions, Library, Secret};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Connects to a monitor at `port` that will not answer, and checks how that fails.
fn fails_in_time(port: u16) {
    if let Err(error) = Library::load() {
        std::io::stderr()
            .write_all(format!("\nskipped: {error}\n").as_bytes())
            .unwrap();
        return;
    }
    let options = ConnectOptions {
        mon_host: Some(format!("v1:127.0.0.1:{port}")),
        key: Some(Secret::new("AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw==")),
        timeout: TIMEOUT,
        ..ConnectOptions::new("nobody")
    };
    let start = Instant::now();
    let error = Cluster::connect(&options).unwrap_err();
    let took = start.elapsed();
    assert!(error.is_timed_out(), "{error}");
    assert!(
        error.to_string().contains("no monitor answered within 2 s"),
        "{error}"
    );
    assert!(took >= TIMEOUT && took < TIMEOUT * 3, "took {took:?}");
}

#[test]
fn a_monitor_that_is_down_is_an_error_within_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    fails_in_time(port);
}

#[test]
fn a_monitor_that_accepts_and_says_nothing_is_an_error_within_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fails_in_time(listener.local_addr().unwrap().port());
}
