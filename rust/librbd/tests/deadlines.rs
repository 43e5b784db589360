//! A program of its own, because `tests/compat` runs it in a chroot with an old librados.
//!
//! A connection to a monitor that does not reply fails at its deadline. The tests need the client libraries of
//! Ceph, Nautilus or later, but no cluster.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use librbd::{Cluster, ConnectOptions, Library, Secret};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Connects to a monitor at `port` that does not reply, and checks the error.
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
        error.to_string().contains("no monitor replied within 2 s"),
        "{error}"
    );
    assert!(took >= TIMEOUT && took < TIMEOUT * 3, "took {took:?}");
}

#[test]
fn a_connection_to_a_closed_port_fails_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    fails_in_time(port);
}

#[test]
fn a_connection_to_a_silent_monitor_fails_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fails_in_time(listener.local_addr().unwrap().port());
}
