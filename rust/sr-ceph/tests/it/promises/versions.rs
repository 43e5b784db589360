//! Two versions of smblock share an SR: what each keeps of the other's records, and what it refuses.

use serde_json::{json, Value};
use sr_ceph::Error;
use uuid::Uuid;

use crate::support::{Lab, A, B, GIB};

/// The catalogue's value of a key, as JSON.
fn value(lab: &Lab, key: &str) -> Value {
    let entries = lab.sim.object(&lab.catalogue()).unwrap();
    serde_json::from_slice(&entries[key]).unwrap()
}

/// Changes a value of the catalogue, as another version of smblock does.
fn change(lab: &Lab, key: &str, edit: impl FnOnce(&mut Value)) {
    let mut changed = value(lab, key);
    edit(&mut changed);
    let bytes = serde_json::to_vec(&changed).unwrap();
    lab.sim.put(&lab.catalogue(), key, &bytes);
}

/// Adds a field that only a newer version has.
fn add_field(lab: &Lab, key: &str, object: &str) {
    change(lab, key, |value| {
        value.pointer_mut(object).unwrap()["of_a_newer_version"] = json!({"kept": [1, "two"]});
    });
}

fn has_field(lab: &Lab, key: &str, object: &str) -> bool {
    let value = value(lab, key);
    value.pointer(object).unwrap()["of_a_newer_version"] == json!({"kept": [1, "two"]})
}

#[test]
fn every_write_of_a_vdi_keeps_the_fields_of_a_newer_version() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let key = format!("vdi.{disk}");
    add_field(&lab, &key, "");
    add_field(&lab, &key, "/xapi");
    let known = lab.known(disk, "renamed");
    lab.run(B, |sr| sr.scan(std::slice::from_ref(&known)))
        .unwrap();
    lab.run(B, |sr| sr.update_vdi(&known)).unwrap();
    lab.run(B, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB)))
        .unwrap();
    lab.clone_of(&disk);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    lab.write(&disk, 3);
    assert_eq!(value(&lab, &key)["xapi"]["name_label"], "renamed");
    assert!(has_field(&lab, &key, "") && has_field(&lab, &key, "/xapi"));
}

#[test]
fn a_new_vdi_does_not_get_the_unknown_fields_of_its_source() {
    let (lab, disk) = Lab::with_disk();
    let key = format!("vdi.{disk}");
    add_field(&lab, &key, "");
    add_field(&lab, &key, "/xapi");
    for new in [lab.snapshot(&disk), lab.clone_of(&disk)] {
        let key = format!("vdi.{new}");
        assert!(!has_field(&lab, &key, "") && !has_field(&lab, &key, "/xapi"));
    }
}

#[test]
fn a_claim_keeps_its_unknown_fields_and_the_next_claim_has_none() {
    let (lab, disk) = Lab::with_disk();
    let key = format!("vdi.{disk}");
    lab.activate(A, &disk).unwrap();
    add_field(&lab, &key, "/claim");
    lab.run(B, |sr| sr.update_vdi(&lab.known(disk, "renamed")))
        .unwrap();
    assert!(has_field(&lab, &key, "/claim"));
    lab.deactivate(A, &disk).unwrap();
    lab.activate(B, &disk).unwrap();
    assert!(!has_field(&lab, &key, "/claim"));
}

#[test]
fn records_of_the_sr_and_of_hosts_keep_the_fields_of_a_newer_version() {
    let lab = Lab::new();
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    let host = format!("host.{A}");
    add_field(&lab, "sr", "");
    add_field(&lab, &host, "");
    lab.run(B, |sr| sr.update_sr("renamed", "")).unwrap();
    lab.run(B, |sr| sr.declare_dead(A, "user")).unwrap();
    assert_eq!(value(&lab, "sr")["name_label"], "renamed");
    assert!(value(&lab, &host)["dead"].is_object());
    assert!(has_field(&lab, "sr", "") && has_field(&lab, &host, ""));
}

#[test]
fn each_record_names_the_version_that_has_written_it_last() {
    let (lab, disk) = Lab::with_disk();
    let key = format!("vdi.{disk}");
    assert_eq!(value(&lab, &key)["smblock"], env!("CARGO_PKG_VERSION"));
    change(&lab, &key, |value| value["smblock"] = json!("9.9.9"));
    lab.write(&disk, 2);
    assert_eq!(value(&lab, &key)["smblock"], env!("CARGO_PKG_VERSION"));
}

/// An SR with a disk, whose own record a newer smblock has written.
fn of_a_newer_version() -> (Lab, Uuid) {
    let (lab, disk) = Lab::with_disk();
    let newer = br#"{"version":2,"smblock":"9.9.9","shards":16}"#;
    lab.sim.put(&lab.catalogue(), "sr", newer);
    (lab, disk)
}

#[test]
fn an_sr_of_a_newer_format_is_refused_with_both_versions_and_the_command() {
    let (lab, disk) = of_a_newer_version();
    let before = lab.sim.snapshot();
    let known = [lab.known(disk, "disk")];
    let errors = [
        lab.run(A, |sr| sr.attach_sr()).unwrap_err(),
        lab.run(A, |sr| sr.scan(&known)).map(|_| ()).unwrap_err(),
        lab.activate(A, &disk).map(|_| ()).unwrap_err(),
        lab.run(A, |sr| sr.delete_vdi(&disk)).unwrap_err(),
        lab.run(A, |sr| sr.update_sr("renamed", "")).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        let text = error.to_string();
        let own = env!("CARGO_PKG_VERSION");
        for part in [
            "has a record of a newer version at sr: its version is 2, written by smblock 9.9.9",
            &format!("smblock {own} of this host reads up to 1"),
            "yum install ./smblock-9.9.9-1.x86_64.rpm",
            "this host cannot use the SR until then",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn a_disk_of_an_sr_of_a_newer_format_can_be_unplugged() {
    let (lab, disk) = Lab::with_disk();
    lab.activate(A, &disk).unwrap();
    let newer = br#"{"version":2,"smblock":"9.9.9"}"#;
    lab.sim.put(&lab.catalogue(), "sr", newer);
    lab.deactivate(A, &disk).unwrap();
    assert!(lab.sim.devices(A).is_empty());
}

#[test]
fn a_newer_record_that_xapi_lacks_is_not_offered_for_removal() {
    let lab = Lab::new();
    let key = format!("vdi.{}", Uuid::new_v4());
    let newer = br#"{"version":2,"smblock":"9.9.9; reboot"}"#;
    lab.sim.put(&lab.catalogue(), &key, newer);
    let scan = lab.scan(B).unwrap();
    let warning = &scan.warnings[0];
    assert!(warning.contains("newer version"), "{warning}");
    assert!(warning.contains("smblock --version"), "{warning}");
    assert!(!warning.contains("rmomapkey") && !warning.contains("reboot"));
}
