//! Promises kept by a real kernel and a real cluster.
//!
//! Runs as root on a kernel with `rbd`. The cluster is named by the environment:
//! `SMBLOCK_TEST_CEPH_CONF` (a ceph.conf for the `rbd` command, which makes the images and is the
//! independent second client), `_MONITORS` (`ip:port,...`), `_MS_MODE`, `_FSID`, `_POOL`, `_POOL_ID`,
//! and `_USER` and `_KEYFILE` (the cephx user that maps, and a file with its key in base64).
//! Without them every test says so and is skipped.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod lab;
mod reaching;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::process::Command;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use hostdev::{Error, Krbd, MapRequest, SecretString};
use lab::Lab;

const DEADLINE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(2);
const SILENT: &str = "SMBLOCK_TEST_SILENT_MONITOR";

#[test]
fn an_image_has_one_device_however_often_it_is_mapped() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = lab.create("again", &[]);
    let request = lab.request(&image);
    let first = krbd.map(&request).unwrap();
    assert!(fs::metadata(&first.device)
        .unwrap()
        .file_type()
        .is_block_device());
    assert_eq!(first.key, image.key);
    assert_eq!((first.size, first.read_only), (lab::SIZE, false));

    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&first.device)
        .unwrap();
    device.write_all_at(b"kept", 4096).unwrap();
    device.sync_all().unwrap();
    drop(device);

    assert_eq!(krbd.map(&request).unwrap(), first);
    assert_eq!(krbd.find(&image.key).unwrap(), from_ref(&first));
    krbd.unmap(&first, DEADLINE).unwrap();
    assert_eq!(krbd.find(&image.key).unwrap(), []);
    krbd.unmap(&first, DEADLINE).unwrap();

    let again = krbd.map(&request).unwrap();
    let mut kept = [0; 4];
    File::open(&again.device)
        .unwrap()
        .read_exact_at(&mut kept, 4096)
        .unwrap();
    assert_eq!(&kept, b"kept");
    krbd.unmap(&again, DEADLINE).unwrap();
}

#[test]
fn the_key_is_nowhere_in_sysfs_and_nowhere_in_the_kernels_log() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = lab.create("secret", &[]);
    let mapping = krbd.map(&lab.request(&image)).unwrap();
    let shown = format!("/sys/bus/rbd/devices/{}/config_info", mapping.device_number);
    let shown = fs::read_to_string(shown).unwrap();
    assert!(shown.contains(&lab.user), "{shown}");
    assert!(!shown.contains(lab.key()), "the key is in config_info");
    let log = Command::new("dmesg").output().unwrap();
    assert!(!String::from_utf8_lossy(&log.stdout).contains(lab.key()));
    krbd.unmap(&mapping, DEADLINE).unwrap();
}

#[test]
fn a_snapshot_is_read_only_and_beside_its_image() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = lab.create("snapped", &[]);
    let snapshot = lab.snapshot(&image, "s1");
    let head = krbd.map(&lab.request(&image)).unwrap();
    let frozen = krbd.map(&lab.request(&snapshot)).unwrap();
    assert_ne!(head.device_number, frozen.device_number);
    assert!(frozen.read_only);
    assert_eq!(frozen.snap_name.as_deref(), Some("s1"));
    assert_eq!(krbd.map(&lab.request(&snapshot)).unwrap(), frozen);
    // Some kernels refuse to open it for writing, others to write.
    let refused = OpenOptions::new()
        .write(true)
        .open(&frozen.device)
        .and_then(|device| device.write_all_at(b"no", 0))
        .unwrap_err();
    assert!(
        [1, 13, 30].contains(&refused.raw_os_error().unwrap()),
        "{refused}"
    );
    krbd.unmap(&frozen, DEADLINE).unwrap();
    krbd.unmap(&head, DEADLINE).unwrap();
}

#[test]
fn a_snapshot_has_a_device_for_each_label() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let snapshot = lab.snapshot(&lab.create("labels", &[]), "s1");
    let labelled = |label: &str| MapRequest {
        label: Some(label.to_owned()),
        ..lab.request(&snapshot)
    };
    // What a process leaves that is killed before it has written the label.
    let unlabelled = krbd.map(&lab.request(&snapshot)).unwrap();
    let (two, one) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| krbd.map(&labelled("one")).unwrap());
        (krbd.map(&labelled("two")).unwrap(), beside.join().unwrap())
    });
    let devices = [&unlabelled.device, &one.device, &two.device];
    assert_eq!(BTreeSet::from(devices).len(), 3, "{devices:?}");
    assert_eq!(krbd.map(&labelled("one")).unwrap().device, one.device);
    krbd.unmap(&one, DEADLINE).unwrap();
    let mut kept = [0; 4];
    let left = File::open(&two.device).unwrap();
    left.read_exact_at(&mut kept, 0).unwrap();
    drop(left);
    for left in krbd.find(&snapshot.key).unwrap() {
        krbd.unmap(&left, DEADLINE).unwrap();
    }
    assert_eq!(krbd.find(&snapshot.key).unwrap(), []);
}

#[test]
fn a_read_only_mapping_becomes_writable_when_asked_unless_it_is_in_use() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = lab.create("promoted", &[]);
    let mut request = lab.request(&image);
    request.read_only = true;
    let reader = krbd.map(&request).unwrap();
    assert!(reader.read_only);

    request.read_only = false;
    request.deadline = SOON;
    let open = File::open(&reader.device).unwrap();
    let error = krbd.map(&request).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(open);

    request.deadline = DEADLINE;
    let writer = krbd.map(&request).unwrap();
    assert!(!writer.read_only);
    assert_eq!(krbd.find(&image.key).unwrap(), from_ref(&writer));
    request.read_only = true;
    assert_eq!(
        krbd.map(&request).unwrap(),
        writer,
        "a writer serves a reader"
    );
    krbd.unmap(&writer, DEADLINE).unwrap();
}

#[test]
fn an_open_device_stays_and_the_error_names_who_has_it_open() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = lab.create("busy", &[]);
    let mapping = krbd.map(&lab.request(&image)).unwrap();
    let open = File::open(&mapping.device).unwrap();
    let error = krbd.unmap(&mapping, SOON).unwrap_err();
    eprintln!("{error}");
    assert_eq!(error.errno(), 16);
    let me = format!("(pid {})", std::process::id());
    assert!(error.to_string().contains(&me), "{error}");
    assert_eq!(krbd.find(&image.key).unwrap(), from_ref(&mapping));
    drop(open);
    krbd.unmap(&mapping, DEADLINE).unwrap();
}

#[test]
fn a_wrong_key_is_refused_with_the_user_and_without_the_key() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let image = lab.create("refused", &[]);
    let mut request = lab.request(&image);
    // The right form, type and length; another secret.
    let wrong = "AQAK7yxNeF+nHBAA0SgSdbs8IkJrxroDeJ6SwQ==";
    request.key = SecretString::from(wrong);
    let error = Krbd::new().map(&request).unwrap_err();
    eprintln!("{error}");
    let message = error.to_string();
    assert!([1, 13].contains(&error.errno()), "{message}");
    assert!(
        message.contains(&format!("client.{}", lab.user)),
        "{message}"
    );
    assert!(!message.contains(wrong), "{message}");
    assert!(!format!("{request:?} {error:?}").contains(wrong));
}

#[test]
fn silent_monitors_cost_the_deadline_and_do_not_hold_the_process() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let limit = Duration::from_secs(3);
    if let Ok(address) = std::env::var(SILENT) {
        let mut request = lab.request(&lab.nameless());
        request.monitors = vec![address];
        request.deadline = limit;
        let started = Instant::now();
        let error = Krbd::new().map(&request).unwrap_err();
        eprintln!("{error}");
        assert_eq!(error.errno(), 110, "{error}");
        assert!(error.to_string().contains(&request.monitors[0]), "{error}");
        assert!(started.elapsed() < limit * 2, "{:?}", started.elapsed());
        return;
    }
    // In a process of its own: the kernel goes on trying until that process ends.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let started = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("silent_monitors_cost_the_deadline_and_do_not_hold_the_process")
        .env(SILENT, silent.local_addr().unwrap().to_string())
        .env(lab::NO_TURNS, "1")
        .status()
        .unwrap();
    assert!(child.success());
    assert!(started.elapsed() < limit * 4, "{:?}", started.elapsed());
}

#[test]
fn an_image_made_anew_under_an_old_name_is_never_taken_for_the_old_one() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let old = lab.create("anew", &[]);
    let stale = krbd.map(&lab.request(&old)).unwrap();
    lab.rbd(&["trash", "mv", &lab.spec(&old)]);
    let new = lab.create("anew", &[]);
    assert_ne!(old.key, new.key);

    let fresh = krbd.map(&lab.request(&new)).unwrap();
    assert_eq!(fresh.key, new.key);
    assert_ne!(fresh.device_number, stale.device_number);
    assert_eq!(krbd.find(&old.key).unwrap(), from_ref(&stale));
    assert_eq!(
        krbd.map(&lab.request(&old)).unwrap(),
        stale,
        "it still serves the old image"
    );
    krbd.unmap(&stale, DEADLINE).unwrap();
    krbd.unmap(&fresh, DEADLINE).unwrap();

    let error = krbd.map(&lab.request(&old)).unwrap_err();
    eprintln!("{error}");
    assert!(matches!(error, Error::OtherImage { .. }), "{error}");
    assert_eq!(
        krbd.find(&new.key).unwrap(),
        [],
        "what was mapped by mistake stays mapped"
    );
}

#[test]
fn features_the_kernel_lacks_are_named_with_the_command_that_drops_them() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    krbd.load_module(DEADLINE).unwrap();
    let supported = krbd.supported_features().unwrap().unwrap();
    assert_eq!(
        supported & 0x41,
        1,
        "{supported:#x}: with journaling this proves nothing"
    );
    let image = lab.create(
        "journaled",
        &["--image-feature", "exclusive-lock,journaling"],
    );
    let error = krbd.map(&lab.request(&image)).unwrap_err();
    eprintln!("{error}");
    let message = error.to_string();
    let (_, command) = message.split_once("`rbd ").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    assert!(command.ends_with(" journaling"), "{message}");
    lab.rbd(&command.split(' ').collect::<Vec<_>>());
    let mapping = krbd.map(&lab.request(&image)).unwrap();
    krbd.unmap(&mapping, DEADLINE).unwrap();
}

#[test]
fn all_maps_of_a_host_share_one_client_unless_asked_otherwise() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let images = ["one", "two", "apart"].map(|name| lab.create(name, &[]));
    let one = krbd.map(&lab.request(&images[0])).unwrap();
    let mut request = lab.request(&images[1]);
    request.deadline = DEADLINE / 2;
    request.read_only = true;
    let two = krbd.map(&request).unwrap();
    let mut request = lab.request(&images[2]);
    request.noshare = true;
    let apart = krbd.map(&request).unwrap();
    assert_eq!(one.client_id, two.client_id);
    assert_eq!(one.client_address, two.client_address);
    assert_ne!(one.client_address, apart.client_address);
    for mapping in [one, two, apart] {
        krbd.unmap(&mapping, DEADLINE).unwrap();
    }
}

#[test]
fn an_image_that_does_not_exist_is_an_error_that_says_so() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let error = Krbd::new().map(&lab.request(&lab.nameless())).unwrap_err();
    eprintln!("{error}");
    assert_eq!(error.errno(), 2);
    assert!(error.to_string().contains("nameless"), "{error}");
}

#[test]
fn images_of_one_name_in_two_namespaces_are_two_devices() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let outer = lab.create("twice", &[]);
    let inner = lab.create_in(&lab.namespace("ns"), "twice", &[]);
    let outer = krbd.map(&lab.request(&outer)).unwrap();
    let inside = krbd.map(&lab.request(&inner)).unwrap();
    assert_eq!(inside.key, inner.key);
    assert_ne!(inside.device_number, outer.device_number);
    assert_eq!(krbd.map(&lab.request(&inner)).unwrap(), inside);
    krbd.unmap(&inside, DEADLINE).unwrap();
    krbd.unmap(&outer, DEADLINE).unwrap();
}

#[test]
fn a_device_node_is_made_where_nothing_manages_dev() {
    let Some(lab) = Lab::from_environment() else {
        return;
    };
    let dev = tempfile::tempdir().unwrap();
    let krbd = Krbd::with_roots("/sys".into(), dev.path().to_owned(), dev.path().join("run"));
    let image = lab.create("unmanaged", &[]);
    let mapping = krbd.map(&lab.request(&image)).unwrap();
    assert_eq!(mapping.device.parent(), Some(dev.path()));
    assert!(fs::metadata(&mapping.device)
        .unwrap()
        .file_type()
        .is_block_device());
    assert_eq!(fs::read_dir(dev.path()).unwrap().count(), 1);
    File::open(&mapping.device).unwrap();
    krbd.unmap(&mapping, DEADLINE).unwrap();
}
