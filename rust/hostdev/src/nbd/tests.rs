#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Stdio};

use super::sim::{Connection, NbdSysfs};
use super::*;

#[test]
fn a_host_without_connections_has_no_devices() {
    let sysfs = NbdSysfs::new();
    assert_eq!(sysfs.nbd().find("volume").unwrap(), None);
    assert_eq!(sysfs.nbd().devices().unwrap(), []);
}

#[test]
fn find_returns_a_device_by_its_identifier() {
    let sysfs = NbdSysfs::new();
    let connection = Connection::new();
    let number = sysfs.connect(64, None);
    let record = connection.record(64, Some(number));
    sysfs.records().write(&record).unwrap();
    let expected = NbdDevice {
        device: sysfs.path("dev/nbd64"),
        index: 64,
        identifier: "volume".to_owned(),
        size: 1 << 20,
        read_only: false,
        connected: true,
        address: Some(connection.address),
    };
    assert_eq!(
        sysfs.nbd().devices().unwrap(),
        std::slice::from_ref(&expected)
    );
    assert_eq!(sysfs.nbd().find("volume").unwrap(), Some(expected));
    assert_eq!(sysfs.nbd().find("other").unwrap(), None);
}

#[test]
fn a_record_of_an_earlier_connection_is_ignored() {
    let sysfs = NbdSysfs::new();
    let record = Connection::new().record(64, Some(sysfs.connect(64, None)));
    sysfs.records().write(&record).unwrap();
    assert!(sysfs.nbd().find("volume").unwrap().is_some());
    sysfs.disconnect(64);
    assert_eq!(sysfs.nbd().find("volume").unwrap(), None);
    sysfs.connect(64, None);
    assert_eq!(sysfs.nbd().find("volume").unwrap(), None);
    assert_eq!(sysfs.nbd().devices().unwrap(), []);
}

#[test]
fn a_record_of_another_boot_is_ignored() {
    let sysfs = NbdSysfs::new();
    let mut record = Connection::new().record(64, Some(sysfs.connect(64, None)));
    record.boot_id = "0fd66a5f-0000-4000-8000-000000000000".to_owned();
    sysfs.records().write(&record).unwrap();
    assert_eq!(sysfs.nbd().find("volume").unwrap(), None);
}

#[test]
fn the_identifier_of_the_kernel_overrides_that_of_a_record() {
    let sysfs = NbdSysfs::new();
    let number = sysfs.connect(64, Some("smblock:other"));
    let record = Connection::new().record(64, Some(number));
    sysfs.records().write(&record).unwrap();
    assert_eq!(sysfs.nbd().find("volume").unwrap(), None);
    let found = sysfs.nbd().find("other").unwrap().unwrap();
    assert_eq!((found.connected, found.address), (false, None));
}

#[test]
fn a_device_of_another_program_is_not_listed() {
    let sysfs = NbdSysfs::new();
    sysfs.connect(0, None);
    sysfs.connect(64, Some("volume"));
    assert_eq!(sysfs.nbd().devices().unwrap(), []);
}

#[test]
fn the_connection_of_a_killed_process_is_found() {
    let sysfs = NbdSysfs::new();
    let connection = Connection::new();
    sysfs.connect(64, None);
    let mut record = connection.record(64, None);
    sysfs.records().write(&record).unwrap();
    // The process that connects lives: another program may have connected the device.
    assert_eq!(sysfs.nbd().find("volume").unwrap(), None);

    record.owner = dead_process();
    sysfs.records().write(&record).unwrap();
    assert!(sysfs.nbd().find("volume").unwrap().unwrap().connected);

    // It died before the kernel had the connection, and another program got the device.
    let Connection { stream, peer, .. } = connection;
    drop(peer);
    drop(stream);
    assert_eq!(sysfs.nbd().find("volume").unwrap(), None);
}

fn dead_process() -> record::Owner {
    let mut child = Command::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = hostos::Process::of(child.id()).unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    record::Owner {
        pid: process.pid,
        start_time: process.start_time,
    }
}

#[test]
fn a_device_in_an_unknown_form_is_an_error() {
    let sysfs = NbdSysfs::new();
    sysfs.connect(64, Some("smblock:volume"));
    fs::write(sysfs.path("sys/block/nbd64/size"), "many\n").unwrap();
    let error = sysfs.nbd().find("volume").unwrap_err().to_string();
    assert!(error.contains("nbd64/size"), "{error}");
    assert!(error.contains("many"), "{error}");
}
