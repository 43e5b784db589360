//! Data that is acknowledged or flushed, and copies that die, as measured on Crucible.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{until, Volume};
use crucible_sim::http;

const ONE: &[u8] = &[1; 4096];
const ZERO: &[u8] = &[0; 4096];

#[test]
fn a_server_listens_only_after_all_three_copies_are_connected() {
    let mut volume = Volume::new();
    volume.kill(2);
    let server = volume.start(0, 1);
    let waiting =
        |index: usize| server.info()["ds_state"][index]["value"]["state"]["type"] == "wait_quorum";
    until("two of three", || waiting(0) && waiting(1));
    assert!(!server.is_listening());
    assert_eq!(server.info()["state"], "initializing");
    volume.restart(2);
    until("the third", || server.is_listening());
    assert_eq!(server.info()["ds_state"][2]["type"], "active");
}

#[test]
fn an_acknowledged_write_without_a_flush_is_lost_with_the_server() {
    let volume = Volume::new();
    let mut server = volume.serve(0, 1);
    let mut disk = server.connect();
    disk.write(0, ONE).unwrap();
    disk.flush().unwrap();
    disk.write(4096, ONE).unwrap();
    assert!(disk.read(4096, 4096).unwrap() == ONE);
    server.process.kill();
    let server = volume.serve(0, 2);
    assert!(server.connect().read(4096, 4096).unwrap() == ZERO);
    assert!(server.connect().read(0, 4096).unwrap() == ONE);
}

#[test]
fn a_write_is_flushed_after_half_a_second() {
    let volume = Volume::new();
    let mut server = volume.serve(0, 1);
    server.connect().write(0, ONE).unwrap();
    thread::sleep(Duration::from_millis(1000));
    server.process.kill();
    assert!(volume.serve(0, 2).connect().read(0, 4096).unwrap() == ONE);
}

#[test]
fn a_copy_that_died_gets_the_writes_it_missed() {
    let mut volume = Volume::new();
    let server = volume.serve(0, 1);
    let mut disk = server.connect();
    volume.kill(1);
    disk.write(0, ONE).unwrap();
    disk.flush().unwrap();
    assert!(disk.read(0, 4096).unwrap() == ONE);
    assert_eq!(server.info()["state"], "active");
    volume.restart(1);
    until("it to be back", || {
        server.info()["ds_state"][1]["type"] == "active"
    });
    volume.kill(0);
    volume.kill(2);
    assert!(disk.read(0, 4096).unwrap() == ONE);
}

#[test]
fn with_two_dead_copies_writes_succeed_and_a_flush_waits_for_one() {
    let mut volume = Volume::new();
    let server = volume.serve(0, 1);
    let mut disk = server.connect();
    volume.kill(0);
    volume.kill(1);
    disk.write(0, ONE).unwrap();
    let flushing = thread::spawn(move || {
        disk.flush().unwrap();
        disk
    });
    thread::sleep(Duration::from_millis(700));
    assert!(!flushing.is_finished());
    volume.restart(0);
    volume.restart(1);
    let mut disk = flushing.join().unwrap();
    assert!(disk.read(0, 4096).unwrap() == ONE);
    until("all three", || {
        (0..3).all(|index| server.info()["ds_state"][index]["type"] == "active")
    });
}

#[test]
fn copies_that_differ_after_a_crash_are_made_equal() {
    let mut volume = Volume::new();
    let mut server = volume.serve(0, 1);
    let mut disk = server.connect();
    volume.kill(0);
    disk.write(0, ONE).unwrap();
    disk.flush().unwrap();
    server.process.kill();
    volume.restart(0);
    let server = volume.serve(0, 2);
    let mut disk = server.connect();
    volume.kill(1);
    volume.kill(2);
    assert!(disk.read(0, 4096).unwrap() == ONE);
}

#[test]
fn a_block_that_was_never_written_reads_as_stale_data() {
    let volume = Volume::new();
    let server = volume.serve(0, 1);
    let mut disk = server.connect();
    assert!(disk.read(1 << 20, 4096).unwrap() == ZERO);
    disk.write(0, ONE).unwrap();
    assert!(disk.read(1 << 20, 4096).unwrap() == ONE);
    assert!(
        disk.read(1 << 20, 512).unwrap() == ZERO[..512],
        "a part of a block"
    );
    disk.write(1 << 20, &ONE[..512]).unwrap();
    let block = disk.read(1 << 20, 4096).unwrap();
    assert!(
        block == [&ONE[..512], &ZERO[512..]].concat(),
        "a block of which a part was written"
    );
}

#[test]
fn imported_data_reads_as_written_also_zeros() {
    let mut volume = Volume::new();
    let zeros = volume.path("zeros");
    std::fs::File::create(&zeros)
        .unwrap()
        .set_len(common::SIZE)
        .unwrap();
    for index in 0..3 {
        volume.kill(index);
        std::fs::remove_dir_all(volume.path(&index.to_string())).unwrap();
        let made = volume.create(
            &index.to_string(),
            &["--import-path", zeros.to_str().unwrap()],
        );
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        volume.restart(index);
    }
    let server = volume.serve(0, 1);
    let mut disk = server.connect();
    disk.write(0, ONE).unwrap();
    assert!(disk.read(1 << 20, 4096).unwrap() == ZERO);
}

#[test]
fn a_second_client_gets_no_greeting_before_the_first_disconnects() {
    let volume = Volume::new();
    let server = volume.serve(0, 1);
    let first = server.connect();
    let mut second = TcpStream::connect(server.address).unwrap();
    second
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut greeting = [0; 18];
    assert!(second.read_exact(&mut greeting).is_err());
    drop(first);
    second
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    second.read_exact(&mut greeting).unwrap();
    assert!(greeting.starts_with(b"NBDMAGICIHAVEOPT"));
}

#[test]
fn an_export_is_opened_by_name_and_go_is_unsupported() {
    const GO: [u8; 4] = [0, 0, 0, 7];
    let volume = Volume::new();
    let server = volume.serve(0, 1);
    let mut client = TcpStream::connect(server.address).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    client.write_all(&[0, 0, 0, 3]).unwrap();
    client.write_all(b"IHAVEOPT").unwrap();
    client.write_all(&[GO, [0, 0, 0, 6]].concat()).unwrap();
    client.write_all(&[0; 6]).unwrap();
    let mut reply = [0; 20];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply[8..16], [GO, [0x80, 0, 0, 1]].concat());
    client
        .write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\x08whatever")
        .unwrap();
    let mut export = [0; 10];
    client.read_exact(&mut export).unwrap();
    assert_eq!(export[..8], common::SIZE.to_be_bytes());
    assert_eq!(
        export[8..],
        [0, 5],
        "has flags, takes flushes, nothing else"
    );
}

#[test]
fn a_small_request_stalls_if_acknowledgements_are_delayed() {
    let volume = Volume::new();
    let server = volume.serve(0, 1);
    let mut disk = server.connect();
    let start = Instant::now();
    for _ in 0..40 {
        disk.write(0, ONE).unwrap();
    }
    assert!(
        start.elapsed() > Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_downstairs_serves_the_definition_of_its_region() {
    let volume = Volume::new();
    let region: serde_json::Value =
        serde_json::from_slice(&http::get(volume.repair(0), "/region-info").unwrap()).unwrap();
    assert_eq!(region["block_size"], 4096);
    assert_eq!(
        region["extent_size"],
        serde_json::json!({"value": 1024, "shift": 12})
    );
    assert_eq!(region["extent_count"], 4);
    assert_eq!(
        http::get(volume.repair(0), "/region-mode").unwrap(),
        b"false"
    );
}

#[test]
fn a_region_is_copied_from_a_read_only_downstairs_only() {
    let mut volume = Volume::new();
    let mut server = volume.serve(0, 1);
    let mut disk = server.connect();
    disk.write(8192, ONE).unwrap();
    disk.flush().unwrap();
    server.process.kill();
    let source = volume.repair(0).to_string();
    let refused = volume.create("refused", &["--clone-source", &source]);
    assert!(!refused.status.success());
    volume.kill(0);
    let read_only = volume.run(0, &["--mode", "ro"]);
    let cloned = volume.create("1-copy", &["--clone-source", &source]);
    assert!(
        cloned.status.success(),
        "{}",
        String::from_utf8_lossy(&cloned.stderr)
    );
    let data = std::fs::read(volume.path("1-copy").join("data")).unwrap();
    assert!(data == std::fs::read(volume.path("0").join("data")).unwrap());
    assert!(data[8192..12288] == *ONE);
    drop(read_only);
}
