//! Devices that fail or do not respond.

use std::fs::OpenOptions;
use std::time::Instant;

use nbd_export::protocol::{command, option};
use serde_json::json;

use crate::bytes::{ends, send_option};
use crate::lab::{nbdsh, refused, run, wait_for, Lab, MIB, TIMEOUT};

const EIO: u32 = 5;

#[test]
fn an_error_of_the_device_is_eio_and_the_connection_stays() {
    let lab = Lab::new();
    let export = lab.export("vm/0", 2 * MIB);
    let mut client = lab.use_export("vm/0");
    let file = OpenOptions::new().write(true).open(&export.device).unwrap();
    file.set_len(MIB as u64).unwrap();
    assert_eq!(client.read(MIB as u64, 4096), Err(EIO));
    assert_eq!(client.read(0, 4096).unwrap(), [0; 4096]);
}

#[test]
fn a_device_that_does_not_respond_is_eio_and_its_export_stays_taken() {
    let lab = Lab::new();
    let export = lab.export_as("vm/0", MIB, false, json!("stuck"));
    lab.export("other", MIB);
    let mut client = lab.use_export("vm/0");
    client.write(0, &[1; 4096]);
    lab.stuck.set(true);
    let start = Instant::now();
    assert_eq!(client.try_write(0, &[2; 4096]), Err(EIO));
    assert!(start.elapsed() >= TIMEOUT);
    assert!(client.is_ended());
    // The kernel still has the write: another writer's data could be lost to it.
    let text = refused("nbdinfo", &[&lab.uri("vm/0")]);
    assert!(text.contains("is in use by"), "{text}");
    run("nbdinfo", &[&lab.uri("other")]);
    lab.stuck.set(false);
    lab.wait_for_no_client();
    run("nbdinfo", &[&lab.uri("vm/0")]);
    assert_eq!(lab.remove(&export, false)["removed"], true);
}

#[test]
fn dead_devices_that_have_all_memory_hold_up_no_other_client() {
    let lab = Lab::new();
    lab.stuck.set(true);
    for name in ["dead/0", "dead/1"] {
        lab.export_as(name, 32 * MIB, false, json!("stuck"));
        let mut client = lab.use_export(name);
        assert_eq!(client.try_write(0, &vec![1; 32 * MIB]), Err(EIO));
    }
    lab.export("vm/0", 33 * MIB);
    let uri = lab.uri("vm/0");
    nbdsh(&format!(
        "import os
h.connect_uri('{uri}')
h.set_strict_mode(0)
data = os.urandom(32 << 20)
h.pwrite(data, 0, nbd.CMD_FLAG_FUA)
assert h.pread(32 << 20, 0) == data
h.pwrite(data, 12345)
assert h.pread(32 << 20, 12345) == data
try:
    h.pread(32 << 20, 0, nbd.CMD_FLAG_DF)
    raise SystemExit('one chunk of 32 MiB')
except nbd.Error as error:
    assert error.errno == 'EOVERFLOW', error
try:
    h.pwrite(data, 2 << 20)
    raise SystemExit('beyond the end')
except nbd.Error as error:
    assert error.errno == 'ENOSPC', error
assert h.pread(1 << 20, 12345) == data[:1 << 20]
h.shutdown()"
    ));
    lab.stuck.set(false);
    lab.wait_for_no_client();
}

#[test]
fn clients_that_are_gone_in_a_write_leave_the_memory_to_others() {
    let lab = Lab::new();
    lab.export("vm/0", 33 * MIB);
    for _ in 0..3 {
        let mut client = lab.use_export("vm/0");
        client.send(command::WRITE, 0, 32 * MIB as u32, &[1; 4096]);
        drop(client);
        lab.wait_for_no_client();
    }
    // Without structured replies a read above 2 MiB needs memory that all share.
    let mut client = lab.use_export("vm/0");
    assert_eq!(client.read(0, 32 * MIB as u32).unwrap().len(), 32 * MIB);
}

#[test]
fn clients_that_leave_a_dead_device_count_until_it_responds() {
    let lab = Lab::new();
    let exports = ["dead/0", "dead/1", "dead/2", "dead/3", "dead/4"];
    for name in exports {
        lab.export_as(name, MIB, true, json!("stuck"));
    }
    lab.export("vm/0", MIB);
    lab.stuck.set(true);
    let leave = |name| {
        let begun = lab.stuck.waiting();
        lab.use_export(name).send(command::READ, 0, 4096, &[]);
        wait_for("the device has the read", || lab.stuck.waiting() > begun);
    };
    for _ in 0..16 {
        leave(exports[0]);
    }
    let text = refused("nbdinfo", &[&lab.uri(exports[0])]);
    assert!(text.contains("has 16 clients"), "{text}");
    run("nbdinfo", &[&lab.uri("vm/0")]);
    for name in &exports[1..4] {
        for _ in 0..16 {
            leave(name);
        }
    }
    wait_for("the server has no place", || ends(lab.connect()));
    lab.stuck.set(false);
    lab.wait_for_no_client();
    run("nbdinfo", &[&lab.uri("vm/0")]);
}

#[test]
fn clients_that_ask_about_a_device_that_is_not_opened_add_no_threads() {
    let lab = Lab::new();
    let export = lab.export_as("dead", MIB, true, json!("opens slowly"));
    lab.export("vm/0", MIB);
    lab.stuck.set(true);
    let ask = || {
        let mut client = lab.greeted();
        send_option(&mut client, option::EXPORT_NAME, b"dead");
        client
    };
    let mut asking: Vec<_> = (0..16).map(|_| ask()).collect();
    wait_for("all of them wait", || lab.stuck.waiting() == 16);
    assert!(ends(ask()));
    assert_eq!(lab.stuck.waiting(), 16);
    // The clients leave. Their threads stay.
    asking.clear();
    lab.remove(&export, true);
    lab.write(&export);
    let text = refused("nbdinfo", &[&lab.uri("dead")]);
    assert!(text.contains("16 clients wait for it"), "{text}");
    run("nbdinfo", &[&lab.uri("vm/0")]);
    lab.stuck.set(false);
    wait_for("the device is open", || lab.stuck.waiting() == 0);
    run("nbdinfo", &[&lab.uri("dead")]);
}

#[test]
fn a_device_that_is_gone_is_an_error_of_its_export_only() {
    let lab = Lab::new();
    let export = lab.export("vm/0", MIB);
    lab.export("other", MIB);
    std::fs::remove_file(&export.device).unwrap();
    let text = refused("nbdinfo", &[&lab.uri("vm/0")]);
    assert!(
        text.contains("ENOENT (2): No such file or directory"),
        "{text}"
    );
    assert_eq!(lab.control(&json!({"do": "status"}))["clients"], json!([]));
    run("nbdinfo", &[&lab.uri("other")]);
}

#[test]
fn a_damaged_file_of_the_registry_hides_its_export_only() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    std::fs::write(lab.path("exports/damaged.json"), "{").unwrap();
    std::fs::write(lab.path("exports/.temporary"), "{").unwrap();
    assert!(run("nbdinfo", &["--list", &lab.uri("")]).contains("vm/0"));
}
