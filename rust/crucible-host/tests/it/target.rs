//! The state of storage servers. They are simulators that send replies of real ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crucible_host::target::{probe, probe_all, TargetState};
use crucible_host::{control, Error};

const REGION: &str = r#"{"block_size":4096,"extent_size":{"value":4096,"shift":12},"extent_count":16,
    "uuid":"12345678-1234-4234-8234-123456789abc","encrypted":true,"database_read_version":1,
    "database_write_version":1}"#;
const SOON: Duration = Duration::from_secs(5);

/// An HTTP server that sends those replies until the test ends.
fn http(address: SocketAddr, replies: BTreeMap<&'static str, &'static str>) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let Some(path) = line.split(' ').nth(1) else {
                continue; // the client only tests the port
            };
            let (status, body) = match replies.get(path) {
                Some(body) => ("200 OK", *body),
                None => ("404 Not Found", "{}"),
            };
            // As dropshot does: a chunk, and the end.
            write!(
                stream,
                "HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
            .unwrap();
        }
    });
}

/// `last` is the last byte of the address, which no other test uses.
fn target(last: u8) -> SocketAddr {
    ([127, 115, 112, last], 3810).into()
}

fn repair(target: SocketAddr) -> SocketAddr {
    (target.ip(), 7810).into()
}

#[test]
fn a_storage_server_describes_its_region_without_an_upstairs() {
    let target = target(1);
    let _data = TcpListener::bind(target).unwrap();
    http(
        repair(target),
        BTreeMap::from([("/region-info", REGION), ("/region-mode", "false")]),
    );
    let state = probe(target, SOON);
    let size = Some(256 << 20);
    assert_eq!(
        state,
        TargetState::Up {
            read_only: Some(false),
            size,
            encrypted: Some(true),
            region: "12345678-1234-4234-8234-123456789abc".parse().ok(),
        }
    );
}

#[test]
fn a_storage_server_that_describes_nothing_is_up() {
    let target = target(2);
    let _data = TcpListener::bind(target).unwrap();
    let unknown = TargetState::Up {
        read_only: None,
        size: None,
        encrypted: None,
        region: None,
    };
    assert_eq!(probe(target, SOON), unknown);
    http(
        repair(target),
        BTreeMap::from([("/region-info", "<html>"), ("/region-mode", "7")]),
    );
    assert_eq!(probe(target, SOON), unknown);
}

#[test]
fn a_storage_server_whose_http_port_is_closed_is_up() {
    let target = target(11);
    let _data = TcpListener::bind(target).unwrap();
    let state = probe(target, SOON);
    assert!(
        matches!(state, TargetState::Up { region: None, .. }),
        "{state:?}"
    );
}

#[test]
fn a_probe_of_three_storage_servers_finds_the_one_that_is_down() {
    let targets = [target(3), target(4), target(5)];
    let _data = [targets[0], targets[2]].map(|target| TcpListener::bind(target).unwrap());
    let states = probe_all(&targets, SOON);
    let up: Vec<bool> = states
        .iter()
        .map(|state| matches!(state, TargetState::Up { .. }))
        .collect();
    assert_eq!(up, [true, false, true]);
    assert!(
        matches!(&states[1], TargetState::Down(why) if why.contains("refused")),
        "{states:?}"
    );
}

#[test]
fn three_storage_servers_that_hang_take_one_deadline() {
    let targets = [target(6), target(7), target(8)];
    // They accept, and send nothing.
    let _data = targets.map(|target| TcpListener::bind(target).unwrap());
    let _repair = targets.map(|target| TcpListener::bind(repair(target)).unwrap());
    let begin = Instant::now();
    let states = probe_all(&targets, Duration::from_millis(300));
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(800), "{took:?}");
    for state in states {
        assert!(
            matches!(&state, TargetState::Down(why) if why.contains("does not reply")),
            "{state:?}"
        );
    }
}

#[test]
fn an_upstairs_that_does_not_reply_is_an_error_with_its_address() {
    let unused = target(9);
    let error = control::info(unused, SOON).unwrap_err();
    assert!(matches!(error, Error::Control { .. }));
    assert!(
        error.to_string().contains("http://127.115.112.9:3810/info"),
        "{error}"
    );
    let _hanging = TcpListener::bind(unused).unwrap();
    let begin = Instant::now();
    control::info(unused, Duration::from_millis(200)).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(1));

    http(target(10), BTreeMap::from([("/metrics", "")]));
    let text = control::info(target(10), SOON).unwrap_err().to_string();
    assert!(text.contains("404"), "{text}");
}
