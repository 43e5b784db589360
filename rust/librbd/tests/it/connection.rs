//! Connections, commands, and fencing a client.

use std::time::{Duration, Instant};

use librbd::{Cluster, ConnectOptions, ImageRef, OmapUpdate, Secret};
use serde_json::{json, Value};

use crate::fixture::Fixture;

#[test]
fn a_connection_has_its_cluster_user_pools_and_monitors() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let status = fixture
        .cluster
        .mon_command(&json!({"prefix": "mon dump", "format": "json"}))
        .unwrap();
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["fsid"], fixture.cluster.fsid().unwrap());
    assert_eq!(fixture.cluster.user(), fixture.options.user);
    assert!(fixture
        .cluster
        .pool_names()
        .unwrap()
        .iter()
        .any(|name| name == fixture.pool.name()));
    assert_ne!(
        fixture.cluster.instance_id(),
        fixture.another().cluster.instance_id()
    );
    let monitors = fixture.cluster.monitors().unwrap();
    assert_eq!(monitors.len(), status["mons"].as_array().unwrap().len());
}

#[test]
fn a_connection_with_monitors_and_key_needs_no_configuration_file() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let options = ConnectOptions {
        mon_host: fixture.cluster.conf_get("mon_host").unwrap(),
        key: Some(fixture.cluster.key().unwrap()),
        ..ConnectOptions::new(fixture.cluster.user())
    };
    let second = Cluster::connect(&options).unwrap();
    assert_eq!(second.fsid().unwrap(), fixture.cluster.fsid().unwrap());
    assert_eq!(second.key().unwrap(), fixture.cluster.key().unwrap());
}

#[test]
fn the_error_of_a_wrong_key_has_the_user_but_no_key() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let wrong = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let options = ConnectOptions {
        key: Some(Secret::new(wrong)),
        ..fixture.options
    };
    let text = Cluster::connect(&options).unwrap_err().to_string();
    assert!(text.contains(&format!("client.{}", options.user)), "{text}");
    assert!(!text.contains(wrong), "{text}");
}

#[test]
fn a_pool_that_does_not_exist_is_not_found() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let error = fixture.cluster.pool("no-such-pool").unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("no-such-pool"), "{error}");
}

#[test]
fn the_error_of_a_refused_command_has_the_status_of_the_monitors() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let forbidden = json!({"prefix": "osd pool rm", "pool": "no-such-pool"});
    let error = fixture.cluster.mon_command(&forbidden).unwrap_err();
    assert_eq!(error.errno(), Some(13), "{error}");
    assert!(error.to_string().contains("osd pool rm"), "{error}");
    assert!(error.to_string().contains("access denied"), "{error}");
}

#[test]
fn ceph_mgr_replies_to_commands_of_its_rbd_module() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    if std::env::var_os("SMBLOCK_TEST_NO_TASKS").is_some() {
        let refused = fixture
            .cluster
            .mgr_command(&json!({"prefix": "rbd task list"}))
            .unwrap_err();
        assert_eq!(refused.errno(), Some(22), "{refused}");
        return;
    }
    let give_up = Instant::now() + Duration::from_secs(30);
    let reply = loop {
        match fixture
            .cluster
            .mgr_command(&json!({"prefix": "rbd task list"}))
        {
            // ceph-mgr has just started, and has not loaded the module yet.
            Err(error) if error.errno() == Some(22) && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(200));
            }
            other => break other.unwrap(),
        }
    };
    let tasks: Value = serde_json::from_slice(&reply).unwrap();
    assert!(tasks.is_array(), "{tasks}");
}

#[test]
fn an_option_that_does_not_exist_has_no_value() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    assert_eq!(fixture.cluster.conf_get("no_such_option").unwrap(), None);
    assert_eq!(
        fixture.cluster.conf_get("rbd_cache").unwrap().as_deref(),
        Some("false")
    );
    let timeout = fixture.cluster.conf_get("rados_osd_op_timeout").unwrap();
    let timeout = timeout.and_then(|text| text.parse::<f64>().ok());
    assert_eq!(timeout, Some(30.0)); // Nautilus: `30.000000`
}

#[test]
fn a_blocklisted_client_cannot_make_changes() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("fenced");
    image.close().unwrap();
    let object = fixture.name("fenced-object");
    fixture
        .pool
        .omap_create(&object, &[("key".to_owned(), b"before".to_vec())])
        .unwrap();

    let fenced = fixture.another();
    let image = fenced
        .pool
        .image_open(&ImageRef::Name(&name), false)
        .unwrap();
    image.write_at(0, b"before").unwrap();
    fixture
        .cluster
        .blocklist(
            &fenced.cluster.addresses().unwrap(),
            Duration::from_secs(60),
        )
        .unwrap();

    let error = image.write_at(0, b"after!").unwrap_err();
    assert!(error.is_blocklisted(), "{error}");
    let set = vec![("key".to_owned(), b"after".to_vec())];
    let update = OmapUpdate {
        set,
        ..OmapUpdate::default()
    };
    let error = fenced.pool.omap_update(&object, &update).unwrap_err();
    assert!(error.is_blocklisted(), "{error}");

    // Its lock and its watch block no other client, and it can still be closed.
    let start = Instant::now();
    let image_again = fixture
        .pool
        .image_open(&ImageRef::Name(&name), false)
        .unwrap();
    let mut data = [0; 6];
    image_again.read_at(0, &mut data).unwrap();
    assert_eq!(&data, b"before");
    image_again.write_at(0, b"taken!").unwrap();
    image_again.close().unwrap();
    drop(image);
    drop(fenced);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    fixture.remove(&name);
    fixture.pool.remove_object(&object).unwrap();
}
