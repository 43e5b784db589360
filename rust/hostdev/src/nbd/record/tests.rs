#![allow(clippy::unwrap_used)]

use super::super::sim::{Connection, NbdSysfs};
use super::*;

#[test]
fn a_record_is_written_replaced_and_removed() {
    let sysfs = NbdSysfs::new();
    let records = sysfs.records();
    assert_eq!(records.all().unwrap(), []);
    let mut record = Connection::new().record(64, None);
    records.write(&record).unwrap();
    assert_eq!(records.read("volume").unwrap(), Some(record.clone()));
    record.connection = Some(7);
    records.write(&record).unwrap();
    assert_eq!(records.all().unwrap(), [record]);
    records.remove("volume").unwrap();
    records.remove("volume").unwrap();
    assert_eq!(fs::read_dir(sysfs.path("run")).unwrap().count(), 0);
}

#[test]
fn the_temporary_file_of_a_killed_writer_is_removed_with_the_record() {
    let sysfs = NbdSysfs::new();
    let records = sysfs.records();
    records
        .write(&Connection::new().record(64, Some(7)))
        .unwrap();
    fs::write(sysfs.path("run/.volume.json.a1B2c3"), "{\"ide").unwrap();
    assert_eq!(records.all().unwrap().len(), 1);
    records.remove("volume").unwrap();
    assert_eq!(fs::read_dir(sysfs.path("run")).unwrap().count(), 0);
}

#[test]
fn the_error_of_a_damaged_record_names_the_file() {
    let sysfs = NbdSysfs::new();
    fs::create_dir(sysfs.path("run")).unwrap();
    fs::write(sysfs.path("run/volume.json"), "{}").unwrap();
    let error = sysfs.records().all().unwrap_err().to_string();
    assert!(error.contains("run/volume.json"), "{error}");
}

#[test]
fn only_root_can_read_the_records() {
    use std::os::unix::fs::PermissionsExt;
    let sysfs = NbdSysfs::new();
    let record = Connection::new().record(64, None);
    sysfs.records().write(&record).unwrap();
    let mode = fs::metadata(sysfs.path("run"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_connection_is_up_until_one_side_ends_it() {
    let connection = Connection::new();
    let record = connection.record(64, Some(7));
    assert!(record.is_up().unwrap());
    drop(connection.peer);
    let down = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !record.is_up().unwrap()
    });
    assert!(down, "a connection whose server is gone still counts as up");
}

#[test]
fn an_identifier_has_only_letters_digits_and_hyphens() {
    check_identifier("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9").unwrap();
    for wrong in ["", ".hidden", "a/b", "../up", "a b", &"x".repeat(65)] {
        let error = check_identifier(wrong).unwrap_err();
        assert_eq!(error.errno(), 22, "{wrong:?}: {error}");
    }
}
