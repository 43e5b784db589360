//! Connecting, commands, and keeping a client out.

use std::time::{Duration, Instant};

use librbd::{Cluster, ConnectOptions, ImageRef, OmapUpdate, Secret};
use serde_json::{json, Value};

use crate::lab::Lab;

#[test]
fn a_connection_tells_who_it_is_and_where() {
    let Some(lab) = Lab::connect() else { return };
    let status = lab
        .cluster
        .mon_command(&json!({"prefix": "mon dump", "format": "json"}))
        .unwrap();
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["fsid"], lab.cluster.fsid().unwrap());
    assert_eq!(lab.cluster.user(), lab.options.user);
    assert!(lab
        .cluster
        .pool_names()
        .unwrap()
        .iter()
        .any(|name| name == lab.pool.name()));
    assert_ne!(
        lab.cluster.instance_id(),
        lab.another().cluster.instance_id()
    );
    let monitors = lab.cluster.monitors().unwrap();
    assert_eq!(monitors.len(), status["mons"].as_array().unwrap().len());
}

#[test]
fn a_connection_needs_no_configuration_file_where_it_has_the_monitors_and_the_key() {
    let Some(lab) = Lab::connect() else { return };
    let options = ConnectOptions {
        mon_host: lab.cluster.conf_get("mon_host").unwrap(),
        key: Some(lab.cluster.key().unwrap()),
        ..ConnectOptions::new(lab.cluster.user())
    };
    let second = Cluster::connect(&options).unwrap();
    assert_eq!(second.fsid().unwrap(), lab.cluster.fsid().unwrap());
    assert_eq!(second.key().unwrap(), lab.cluster.key().unwrap());
}

#[test]
fn a_wrong_key_is_an_error_that_names_the_user_and_not_the_key() {
    let Some(lab) = Lab::connect() else { return };
    let wrong = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let options = ConnectOptions {
        key: Some(Secret::new(wrong)),
        ..lab.options
    };
    let text = Cluster::connect(&options).unwrap_err().to_string();
    assert!(text.contains(&format!("client.{}", options.user)), "{text}");
    assert!(!text.contains(wrong), "{text}");
}

#[test]
fn a_pool_that_does_not_exist_is_not_found() {
    let Some(lab) = Lab::connect() else { return };
    let error = lab.cluster.pool("no-such-pool").unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("no-such-pool"), "{error}");
}

#[test]
fn a_refused_command_keeps_the_errno_and_what_the_monitors_say() {
    let Some(lab) = Lab::connect() else { return };
    let forbidden = json!({"prefix": "osd pool rm", "pool": "no-such-pool"});
    let error = lab.cluster.mon_command(&forbidden).unwrap_err();
    assert_eq!(error.errno(), Some(13), "{error}");
    assert!(error.to_string().contains("osd pool rm"), "{error}");
    assert!(error.to_string().contains("access denied"), "{error}");
}

#[test]
fn the_manager_answers_the_commands_of_its_rbd_module() {
    let Some(lab) = Lab::connect() else { return };
    if std::env::var_os("SMBLOCK_TEST_NO_TASKS").is_some() {
        let refused = lab
            .cluster
            .mgr_command(&json!({"prefix": "rbd task list"}))
            .unwrap_err();
        assert_eq!(refused.errno(), Some(22), "{refused}");
        return;
    }
    let give_up = Instant::now() + Duration::from_secs(30);
    let answer = loop {
        match lab.cluster.mgr_command(&json!({"prefix": "rbd task list"})) {
            // The manager was just started, and has not loaded the module yet.
            Err(error) if error.errno() == Some(22) && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(200));
            }
            other => break other.unwrap(),
        }
    };
    let tasks: Value = serde_json::from_slice(&answer).unwrap();
    assert!(tasks.is_array(), "{tasks}");
}

#[test]
fn an_option_that_does_not_exist_has_no_value() {
    let Some(lab) = Lab::connect() else { return };
    assert_eq!(lab.cluster.conf_get("no_such_option").unwrap(), None);
    assert_eq!(
        lab.cluster.conf_get("rbd_cache").unwrap().as_deref(),
        Some("false")
    );
    let timeout = lab.cluster.conf_get("rados_osd_op_timeout").unwrap();
    let timeout = timeout.and_then(|text| text.parse::<f64>().ok());
    assert_eq!(timeout, Some(30.0)); // Nautilus: `30.000000`
}

#[test]
fn a_blocklisted_client_changes_nothing_any_more() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("fenced");
    image.close().unwrap();
    let object = lab.name("fenced-object");
    lab.pool
        .omap_create(&object, &[("key".to_owned(), b"before".to_vec())])
        .unwrap();

    let fenced = lab.another();
    let image = fenced
        .pool
        .image_open(&ImageRef::Name(&name), false)
        .unwrap();
    image.write_at(0, b"before").unwrap();
    lab.cluster
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

    // Its lock and its watch keep nobody waiting, and it can still be taken down.
    let start = Instant::now();
    let image_again = lab.pool.image_open(&ImageRef::Name(&name), false).unwrap();
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
    lab.remove(&name);
    lab.pool.remove_object(&object).unwrap();
}
