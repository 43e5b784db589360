#![allow(clippy::unwrap_used)]

use super::super::sim::{key, RbdSysfs};
use super::*;
use crate::Module;

#[test]
fn a_mapping_has_all_attributes_of_sysfs() {
    let sysfs = RbdSysfs::new();
    sysfs.map(7, &[]);
    let expected = Mapping {
        device_number: 7,
        device: sysfs.path("dev/rbd7"),
        key: key(),
        pool_name: "pool".to_owned(),
        image_name: "disk".to_owned(),
        snap_name: None,
        client_address: "10.0.0.9:0/1837391163".to_owned(),
        client_id: 4123,
        label: None,
        size: 1 << 30,
        read_only: false,
        major: 253,
        minor: 112,
    };
    assert_eq!(sysfs.krbd().mappings().unwrap(), [expected]);
}

#[test]
fn a_snapshot_in_a_namespace_has_its_own_identity_and_name() {
    let sysfs = RbdSysfs::new();
    sysfs.map(0, &[]);
    sysfs.map(
        1,
        &[("snap_id", "4"), ("current_snap", "s1"), ("pool_ns", "ns")],
    );
    sysfs.write("block/rbd1/ro", "1\n");
    let [head, snapshot] = &sysfs.krbd().mappings().unwrap()[..] else {
        panic!("two were mapped")
    };
    assert_eq!(
        (head.spec(), head.read_only),
        ("pool/disk".to_owned(), false)
    );
    assert_eq!(
        (snapshot.spec(), snapshot.read_only),
        ("pool/ns/disk@s1".to_owned(), true)
    );
    assert_eq!((snapshot.key.snap_id, head.key.snap_id), (Some(4), None));
}

#[test]
fn find_distinguishes_images_of_one_name_by_identity() {
    let sysfs = RbdSysfs::new();
    sysfs.map(10, &[]);
    sysfs.map(2, &[("image_id", "fedcba987654")]);
    sysfs.map(
        3,
        &[("cluster_fsid", "00000000-0000-0000-0000-000000000000")],
    );
    sysfs.map(4, &[("pool_id", "5")]);
    sysfs.map(5, &[("pool_ns", "ns")]);
    sysfs.map(6, &[("snap_id", "4")]);
    let numbers = |mappings: Vec<Mapping>| -> Vec<u32> {
        mappings
            .iter()
            .map(|mapping| mapping.device_number)
            .collect()
    };
    let krbd = sysfs.krbd();
    assert_eq!(numbers(krbd.mappings().unwrap()), [2, 3, 4, 5, 6, 10]);
    assert_eq!(numbers(krbd.find(&key()).unwrap()), [10]);
}

#[test]
fn a_kernel_without_namespaces_maps_from_the_default_namespace() {
    let sysfs = RbdSysfs::new();
    sysfs.map(0, &[]);
    sysfs.remove("bus/rbd/devices/0/pool_ns");
    assert_eq!(sysfs.krbd().find(&key()).unwrap().len(), 1);
}

#[test]
fn an_incomplete_mapping_is_omitted_from_the_list() {
    let sysfs = RbdSysfs::new();
    sysfs.map(0, &[]);
    sysfs.map(1, &[]);
    sysfs.remove("block/rbd0");
    assert_eq!(sysfs.krbd().mappings().unwrap().len(), 1);
}

#[test]
fn a_mapping_in_an_unknown_form_is_an_error() {
    for (attribute, text) in [
        ("size", "large"),
        ("client_id", "4123"),
        ("pool_id", ""),
        ("minor", "-1"),
        ("snap_id", "head"),
    ] {
        let sysfs = RbdSysfs::new();
        sysfs.map(0, &[]);
        sysfs.map(1, &[(attribute, text)]);
        let message = sysfs.krbd().mappings().unwrap_err().to_string();
        assert!(
            message.contains(&format!("devices/1/{attribute}")),
            "{message}"
        );
    }
    let sysfs = RbdSysfs::new();
    sysfs.map(0, &[]);
    sysfs.remove("bus/rbd/devices/0/image_id");
    let error = sysfs.krbd().mappings().unwrap_err();
    assert_eq!(error.errno(), 2);
    assert!(error.to_string().contains("devices/0/image_id"), "{error}");
}

#[test]
fn the_kernel_check_shows_a_missing_module() {
    let sysfs = RbdSysfs::new();
    sysfs.remove("bus/rbd");
    let krbd = sysfs.krbd();
    assert_eq!(krbd.mappings().unwrap(), []);
    let facts = krbd.check_kernel().unwrap();
    assert_ne!(facts.module, Module::Loaded);
    assert_eq!(facts.supported_features, None);
    assert!(!facts.release.is_empty() && !facts.release.contains('\n'));
}

#[test]
fn a_loaded_module_may_lack_the_list_of_features() {
    let sysfs = RbdSysfs::new();
    let facts = sysfs.krbd().check_kernel().unwrap();
    assert_eq!(
        (facts.module, facts.supported_features),
        (Module::Loaded, None)
    );
    sysfs.write("bus/rbd/supported_features", "0x1bf\n");
    assert_eq!(sysfs.krbd().supported_features().unwrap(), Some(0x1bf));
    sysfs.write("bus/rbd/supported_features", "many\n");
    let message = sysfs.krbd().supported_features().unwrap_err().to_string();
    assert!(message.contains("supported_features"), "{message}");
}
