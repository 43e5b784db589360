//! The connection of the kernel to a cluster: its monitors, and the key.

use std::fs;
use std::net::TcpListener;

use hostdev::{Krbd, SecretString};

use crate::cluster::Cluster;
use crate::krbd::DEADLINE;

#[test]
fn the_kernel_accepts_a_key_of_type_1_and_refuses_one_of_type_2() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    krbd.load_module(DEADLINE).unwrap();
    let key = SecretString::from(cluster.key());
    krbd.try_key(&cluster.user, &key, DEADLINE).unwrap();
    let keys = fs::read_to_string("/proc/keys").unwrap();
    assert!(!keys.contains("smblock-check"), "{keys}");
    // Type 2, no time, 32 bytes.
    let key = SecretString::from("AgAAAAAAAAAAACAABwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    let tried = krbd.try_key(&cluster.user, &key, DEADLINE);
    if has_keys_of_type_2() {
        return tried.unwrap();
    }
    let error = tried.unwrap_err();
    eprintln!("{error}");
    // EINVAL of Linux 6.1; ENOTSUPP of Linux 5.10, which has no name outside the kernel.
    assert!([22, 524].contains(&error.errno()), "{error}");
    let message = error.to_string();
    assert!(message.contains("key of type 1"), "{message}");
    assert!(message.contains("--key-type aes"), "{message}");
    let mut request = cluster.request(&cluster.nameless());
    request.key = key;
    let refused = krbd.map(&request).unwrap_err();
    assert_eq!(refused.to_string(), message);
}

/// Whether this kernel is Linux 7.0 or later.
fn has_keys_of_type_2() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    release.split('.').next().unwrap().parse::<u32>().unwrap() >= 7
}

#[test]
fn an_image_is_mapped_although_a_monitor_is_down() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = cluster.create("away", &[]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut request = cluster.request(&image);
    // A new client: the shared one is already connected to its monitor.
    request.noshare = true;
    let away = [
        silent.local_addr().unwrap().to_string(),
        "127.0.0.1:1".to_owned(),
    ];
    request.monitors = [&away[..], &request.monitors[..]].concat();
    let mapping = krbd.map(&request).unwrap();
    krbd.unmap(&mapping, DEADLINE).unwrap();
}

#[test]
fn the_kernel_reads_ipv6_addresses() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = cluster.create("ipv6", &[]);
    let mut request = cluster.request(&image);
    request.noshare = true;
    request.monitors.insert(0, "[fd00::1]:6789".to_owned());
    let mapping = krbd.map(&request).unwrap();
    let shown = format!("/sys/bus/rbd/devices/{}/config_info", mapping.device_number);
    let shown = fs::read_to_string(shown).unwrap();
    assert!(shown.starts_with("[fd00::1]:6789,"), "{shown}");
    krbd.unmap(&mapping, DEADLINE).unwrap();
}
