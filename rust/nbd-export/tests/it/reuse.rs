//! One export for many jobs: what a name, a writer, an addition and a removal mean for the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nbd_export::protocol::{command, option};
use serde_json::json;

use crate::bytes::{ends, send_option};
use crate::lab::{content, random, refused, run, wait_for, Lab, MIB};

#[test]
fn two_jobs_reuse_one_name() {
    let lab = Lab::new();
    let export = lab.export("vm/0", 8 * MIB);
    for _ in 0..2 {
        lab.wait_for_no_client();
        let data = random(8 * MIB);
        let source = lab.path("source");
        std::fs::write(&source, &data).unwrap();
        run("nbdcopy", &[source.to_str().unwrap(), &lab.uri("vm/0")]);
        assert!(content(&export) == data);
    }
}

#[test]
fn a_second_writer_is_refused_while_one_is_connected() {
    let lab = Lab::new();
    let export = lab.export("vm/0", MIB);
    let uri = lab.uri("vm/0");
    let held = lab.hold("vm/0");
    let text = refused("nbdinfo", &[&uri]);
    let wanted = format!(
        "\"vm/0\" is in use by {}: one client at a time",
        held.local_addr().unwrap()
    );
    assert!(text.contains(&wanted), "{text}");
    assert!(run("nbdinfo", &["--list", "--no-content", &lab.uri("")]).contains("vm/0"));
    let clients = lab.control(&json!({"do": "status"}))["clients"].clone();
    assert_eq!(clients[0]["name"], "vm/0");
    assert_eq!(clients[0]["vdi"], json!(export.vdi));
    assert_eq!(clients[0]["peer"], held.local_addr().unwrap().to_string());
    drop(held);
    lab.wait_for_no_client();
    run("nbdinfo", &[&uri]);
}

#[test]
fn an_export_with_a_client_is_removed_by_force_only() {
    let lab = Lab::new();
    let export = lab.export("vm/0", MIB);
    let mut held = lab.hold("vm/0");
    let peer = held.local_addr().unwrap().to_string();
    assert_eq!(
        lab.remove(&export, false),
        json!({"removed": false, "client": peer})
    );
    assert_eq!(
        lab.control(&json!({"do": "status"}))["exports"][0]["name"],
        "vm/0"
    );
    assert_eq!(lab.remove(&export, true), json!({"removed": true}));
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut held, &mut rest).unwrap();
    assert_eq!(rest, b"");
    let text = refused("nbdinfo", &[&lab.uri("vm/0")]);
    assert!(text.contains("no export"), "{text}");
    assert_eq!(lab.remove(&export, false), json!({"removed": true}));
}

#[test]
fn a_removal_by_force_ends_a_client_whose_device_is_being_opened() {
    let lab = Lab::new();
    let export = lab.export_as("vm/0", MIB, false, json!("opens slowly"));
    lab.stuck.set(true);
    let mut client = lab.greeted();
    send_option(&mut client, option::EXPORT_NAME, b"vm/0");
    let status = || lab.control(&json!({"do": "status"}));
    wait_for("the client has it", || {
        status()["clients"][0]["name"] == "vm/0"
    });
    let reply = thread::scope(|scope| {
        let removal = scope.spawn(|| lab.remove(&export, true));
        wait_for("it is removed", || status()["exports"] == json!([]));
        lab.stuck.set(false);
        removal.join().unwrap()
    });
    assert_eq!(reply, json!({"removed": true}));
    assert!(ends(client));
}

#[test]
fn after_a_removal_by_force_no_further_request_reaches_the_device() {
    let lab = Lab::new();
    let export = lab.export_as("vm/0", 64 * MIB, false, json!("stuck"));
    let mut client = lab.use_export("vm/0");
    lab.stuck.set(true);
    for number in 0..32 {
        client.send(command::WRITE, number * 4096, 4096, &[7; 4096]);
    }
    wait_for("all threads have a write", || lab.stuck.waiting() == 16);
    thread::scope(|scope| {
        let removal = scope.spawn(|| lab.remove(&export, true));
        let status = || lab.control(&json!({"do": "status"}));
        wait_for("it is removed", || status()["exports"] == json!([]));
        assert!(client.ends());
        lab.stuck.set(false);
        assert_eq!(removal.join().unwrap(), json!({"removed": true}));
    });
    let written = content(&export)
        .chunks(4096)
        .filter(|block| block[0] == 7)
        .count();
    assert_eq!(written, 16, "the device had these already");
}

#[test]
fn a_name_of_two_vdis_is_refused() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    lab.export("vm/0", MIB);
    let text = refused("nbdinfo", &[&lab.uri("vm/0")]);
    assert!(text.contains("several VDIs have the export name"), "{text}");
}

/// The longest time between two replies of a client that writes for a while.
fn longest_gap(lab: &Lab, name: &str, meanwhile: impl FnOnce()) -> Duration {
    lab.wait_for_no_client();
    let mut client = lab.use_export(name);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            let mut at = 0;
            while !stop.load(Ordering::Relaxed) {
                client.write(at * 4096, &[7; 4096]);
                longest = longest.max(last.elapsed());
                last = Instant::now();
                at = (at + 1) % 256;
            }
            longest
        });
        thread::sleep(Duration::from_millis(200));
        meanwhile();
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        writes.join().unwrap()
    })
}

#[test]
fn adding_and_removing_an_export_leaves_no_gap_in_anothers_writes() {
    let lab = Lab::new();
    lab.export("busy", MIB);
    let gaps = || {
        let alone = longest_gap(&lab, "busy", || thread::sleep(Duration::from_millis(800)));
        let beside = longest_gap(&lab, "busy", || {
            for n in 0..8 {
                let name = format!("other/{n}");
                let other = lab.export(&name, MIB);
                run("nbdinfo", &["--size", &lab.uri(&name)]);
                assert_eq!(lab.remove(&other, true)["removed"], true);
            }
        });
        (alone, beside)
    };
    // A busy machine has gaps of its own, but not each time.
    let mut found = Vec::new();
    for _ in 0..3 {
        let (alone, beside) = gaps();
        if beside <= Duration::from_millis(100).max(alone * 2) {
            return;
        }
        found.push((alone, beside));
    }
    panic!("without and with another export: {found:?}");
}
