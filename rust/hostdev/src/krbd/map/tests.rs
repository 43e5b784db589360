#![allow(clippy::unwrap_used)]

use std::fs;

use secrecy::SecretString;

use super::super::sim::{request, RbdSysfs};
use super::*;

type Spoil = fn(&mut MapRequest);

#[test]
fn a_value_that_the_kernel_would_misread_is_refused() {
    let sysfs = RbdSysfs::new();
    let spoil: [(&str, Spoil); 9] = [
        ("monitor address", |request| {
            request.monitors[1] = "ceph-mon-2:6789".to_owned()
        }),
        ("monitor address", |request| {
            request.monitors[0] = "v1:10.0.0.1:6789/0".to_owned()
        }),
        ("list of monitors", |request| request.monitors.clear()),
        ("pool name", |request| {
            request.pool_name = "my pool".to_owned()
        }),
        ("cephx user", |request| {
            request.user = "xcp,exclusive".to_owned()
        }),
        ("namespace", |request| {
            request.image.namespace = "ns,exclusive".to_owned()
        }),
        ("snapshot of", |request| request.image.snap_id = Some(4)),
        ("cephx key", |request| {
            request.key = SecretString::from("not base64!")
        }),
        ("monitors and names", |request| {
            request.image_name = "x".repeat(4096)
        }),
    ];
    for (what, spoil) in spoil {
        let mut request = request();
        spoil(&mut request);
        let error = sysfs.krbd().map(&request).unwrap_err();
        assert_eq!(error.errno(), 22);
        assert!(error.to_string().contains(what), "{error}");
        assert!(!error.to_string().contains("not base64!"), "{error}");
        assert_eq!(sysfs.read("bus/rbd/add_single_major"), "");
    }
}

#[test]
fn a_read_only_mapping_is_replaced_for_a_writable_request() {
    let sysfs = RbdSysfs::new();
    sysfs.map(0, &[]);
    sysfs.map(1, &[]);
    sysfs.write("block/rbd0/ro", "1\n");
    let mappings = sysfs.krbd().mappings().unwrap();
    let [reader, writer] = &mappings[..] else {
        panic!("two were mapped")
    };
    assert_eq!(plan(vec![], true), Plan::Make);
    assert_eq!(
        plan(mappings.clone(), true),
        Plan::Use(Box::new(writer.clone()))
    );
    assert_eq!(
        plan(mappings.clone(), false),
        Plan::Use(Box::new(reader.clone()))
    );
    assert_eq!(
        plan(vec![writer.clone()], false),
        Plan::Use(Box::new(writer.clone()))
    );
    assert_eq!(
        plan(vec![reader.clone()], true),
        Plan::Replace(vec![reader.clone()])
    );
}

#[test]
fn a_label_is_invalid_when_its_device_number_is_reused() {
    let sysfs = RbdSysfs::new();
    let krbd = sysfs.krbd();
    sysfs.map(0, &[]);
    sysfs.map(1, &[]);
    let mappings = krbd.mappings().unwrap();
    krbd.set_label(&mappings[1], "vdi").unwrap();
    let found = |label| {
        let found = krbd.find_labelled(&request().image, label).unwrap();
        found.iter().map(|m| m.device_number).collect::<Vec<_>>()
    };
    assert_eq!((found(Some("vdi")), found(None)), (vec![1], vec![0]));
    assert_eq!(found(Some("other")), [0; 0]);
    // Unmapped and mapped again: the same number and the same image, and a new device.
    fs::rename(sysfs.path("sys/block/rbd1"), sysfs.path("old")).unwrap();
    sysfs.map(1, &[]);
    assert_eq!((found(Some("vdi")), found(None)), (vec![], vec![0, 1]));
}

#[test]
fn a_damaged_label_counts_as_missing() {
    let sysfs = RbdSysfs::new();
    let krbd = sysfs.krbd();
    sysfs.map(0, &[]);
    krbd.set_label(&krbd.mappings().unwrap()[0], "vdi").unwrap();
    fs::write(sysfs.path("run/rbd0.json"), "{").unwrap();
    assert_eq!(krbd.mappings().unwrap()[0].label, None);
}

#[test]
fn the_lock_is_held_by_one_process_at_a_time() {
    let sysfs = RbdSysfs::new();
    let (krbd, soon) = (sysfs.krbd(), Duration::from_millis(50));
    let held = krbd.lock(Deadline::after(soon), soon).unwrap();
    let error = krbd
        .lock(Deadline::after(soon), soon)
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("another process of smblock"),
        "{error}"
    );
    drop(held);
    krbd.lock(Deadline::after(soon), soon).map(drop).unwrap();
}

#[test]
fn only_a_device_that_appeared_during_the_map_is_found_by_name() {
    let sysfs = RbdSysfs::new();
    sysfs.map(0, &[("image_id", "fedcba987654")]);
    sysfs.map(1, &[]);
    let before = sysfs.krbd().mappings().unwrap();
    // A map of another image, a map of this one, and a number that another image has now.
    sysfs.map(2, &[("name", "other")]);
    sysfs.map(3, &[("image_id", "102210221022")]);
    sysfs.map(1, &[("image_id", "abcdefabcdef")]);
    let fresh = by_that_name(sysfs.krbd().mappings().unwrap(), &before, &request());
    let numbers: Vec<u32> = fresh.iter().map(|mapping| mapping.device_number).collect();
    assert_eq!(numbers, [1, 3]);
}

#[test]
fn a_mapping_of_another_image_is_removed() {
    let sysfs = RbdSysfs::new();
    sysfs.map(3, &[("image_id", "102210221022")]);
    let end = Deadline::after(Duration::from_secs(5));
    let error = sysfs.krbd().identify(&request(), &[], end).unwrap_err();
    assert_eq!(sysfs.read("bus/rbd/remove_single_major"), "3");
    assert_eq!(error.errno(), nix::errno::Errno::ESTALE as i32);
    let message = error.to_string();
    assert!(
        message.contains("pool/disk is a different image now"),
        "{message}"
    );
    assert!(
        message.contains("10226b8b4567") && message.contains("102210221022"),
        "{message}"
    );
}

#[test]
fn a_map_without_a_device_is_an_error() {
    let sysfs = RbdSysfs::new();
    let end = Deadline::after(Duration::from_secs(5));
    let error = sysfs.krbd().identify(&request(), &[], end).unwrap_err();
    assert!(matches!(error, Error::NoDevice { .. }), "{error}");
}
