//! RBD images on a real kernel and a real cluster.
//!
//! The environment has the cluster: `SMBLOCK_TEST_CEPH_CONF` (a ceph.conf for the `rbd` command, which
//! creates the images and is an independent second client), `_MONITORS` (`ip:port,...`), `_MS_MODE`,
//! `_FSID`, `_POOL`, `_POOL_ID`, and `_USER` and `_KEYFILE` (the cephx user that maps, and a file with its
//! key in base64).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::process::Command;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use crate::cluster::{self, Cluster};
use hostdev::{Error, Krbd, MapRequest, SecretString};

pub const DEADLINE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(2);
const SILENT: &str = "SMBLOCK_TEST_SILENT_MONITOR";

#[test]
fn repeated_maps_of_an_image_return_one_device() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = cluster.create("again", &[]);
    let request = cluster.request(&image);
    let first = krbd.map(&request).unwrap();
    assert!(fs::metadata(&first.device)
        .unwrap()
        .file_type()
        .is_block_device());
    assert_eq!(first.key, image.key);
    assert_eq!((first.size, first.read_only), (cluster::SIZE, false));

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
fn the_key_is_neither_in_sysfs_nor_in_the_kernel_log() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = cluster.create("secret", &[]);
    let mapping = krbd.map(&cluster.request(&image)).unwrap();
    let shown = format!("/sys/bus/rbd/devices/{}/config_info", mapping.device_number);
    let shown = fs::read_to_string(shown).unwrap();
    assert!(shown.contains(&cluster.user), "{shown}");
    assert!(!shown.contains(cluster.key()), "the key is in config_info");
    let log = Command::new("dmesg").output().unwrap();
    assert!(!String::from_utf8_lossy(&log.stdout).contains(cluster.key()));
    krbd.unmap(&mapping, DEADLINE).unwrap();
}

#[test]
fn a_snapshot_has_a_read_only_device_of_its_own() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = cluster.create("snapped", &[]);
    let snapshot = cluster.snapshot(&image, "s1");
    let head = krbd.map(&cluster.request(&image)).unwrap();
    let frozen = krbd.map(&cluster.request(&snapshot)).unwrap();
    assert_ne!(head.device_number, frozen.device_number);
    assert!(frozen.read_only);
    assert_eq!(frozen.snap_name.as_deref(), Some("s1"));
    assert_eq!(krbd.map(&cluster.request(&snapshot)).unwrap(), frozen);
    // Some kernels refuse the open for writing, others the write.
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
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let snapshot = cluster.snapshot(&cluster.create("labels", &[]), "s1");
    let labelled = |label: &str| MapRequest {
        label: Some(label.to_owned()),
        ..cluster.request(&snapshot)
    };
    // A process that is killed before it writes the label leaves this.
    let unlabelled = krbd.map(&cluster.request(&snapshot)).unwrap();
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
fn a_read_only_mapping_becomes_writable_if_it_is_not_in_use() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = cluster.create("promoted", &[]);
    let mut request = cluster.request(&image);
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
        "a writable mapping serves a read-only request"
    );
    krbd.unmap(&writer, DEADLINE).unwrap();
}

#[test]
fn an_open_device_stays_and_the_error_names_the_opener() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let image = cluster.create("busy", &[]);
    let mapping = krbd.map(&cluster.request(&image)).unwrap();
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
fn the_error_of_a_wrong_key_has_the_user_but_no_key() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let image = cluster.create("refused", &[]);
    let mut request = cluster.request(&image);
    // The right form, type and length; another secret.
    let wrong = "AQAK7yxNeF+nHBAA0SgSdbs8IkJrxroDeJ6SwQ==";
    request.key = SecretString::from(wrong);
    let error = Krbd::new().map(&request).unwrap_err();
    eprintln!("{error}");
    let message = error.to_string();
    assert!([1, 13].contains(&error.errno()), "{message}");
    assert!(
        message.contains(&format!("client.{}", cluster.user)),
        "{message}"
    );
    assert!(!message.contains(wrong), "{message}");
    assert!(!format!("{request:?} {error:?}").contains(wrong));
}

#[test]
fn a_map_with_silent_monitors_fails_at_the_deadline() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let limit = Duration::from_secs(3);
    if let Ok(address) = std::env::var(SILENT) {
        let mut request = cluster.request(&cluster.nameless());
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
    // In a process of its own: the kernel keeps trying until that process ends.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let started = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("krbd::a_map_with_silent_monitors_fails_at_the_deadline")
        .env(SILENT, silent.local_addr().unwrap().to_string())
        .env(cluster::NO_LOCK, "1")
        .status()
        .unwrap();
    assert!(child.success());
    assert!(started.elapsed() < limit * 4, "{:?}", started.elapsed());
}

#[test]
fn a_new_image_with_an_old_name_gets_a_device_of_its_own() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let old = cluster.create("anew", &[]);
    let stale = krbd.map(&cluster.request(&old)).unwrap();
    cluster.rbd(&["trash", "mv", &cluster.spec(&old)]);
    let new = cluster.create("anew", &[]);
    assert_ne!(old.key, new.key);

    let fresh = krbd.map(&cluster.request(&new)).unwrap();
    assert_eq!(fresh.key, new.key);
    assert_ne!(fresh.device_number, stale.device_number);
    assert_eq!(krbd.find(&old.key).unwrap(), from_ref(&stale));
    assert_eq!(
        krbd.map(&cluster.request(&old)).unwrap(),
        stale,
        "it still serves the old image"
    );
    krbd.unmap(&stale, DEADLINE).unwrap();
    krbd.unmap(&fresh, DEADLINE).unwrap();

    let error = krbd.map(&cluster.request(&old)).unwrap_err();
    eprintln!("{error}");
    assert!(matches!(error, Error::OtherImage { .. }), "{error}");
    assert_eq!(
        krbd.find(&new.key).unwrap(),
        [],
        "the mapping of the wrong image stays"
    );
}

#[test]
fn the_error_of_unsupported_features_has_a_command_that_works() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    krbd.load_module(DEADLINE).unwrap();
    let supported = krbd.supported_features().unwrap().unwrap();
    assert_eq!(
        supported & 0x41,
        1,
        "{supported:#x}: the test needs a kernel without journaling"
    );
    let image = cluster.create(
        "journaled",
        &["--image-feature", "exclusive-lock,journaling"],
    );
    let error = krbd.map(&cluster.request(&image)).unwrap_err();
    eprintln!("{error}");
    let message = error.to_string();
    let (_, command) = message.split_once("`rbd ").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    assert!(command.ends_with(" journaling"), "{message}");
    cluster.rbd(&command.split(' ').collect::<Vec<_>>());
    let mapping = krbd.map(&cluster.request(&image)).unwrap();
    krbd.unmap(&mapping, DEADLINE).unwrap();
}

#[test]
fn all_maps_of_a_host_without_noshare_share_one_client() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let images = ["one", "two", "apart"].map(|name| cluster.create(name, &[]));
    let one = krbd.map(&cluster.request(&images[0])).unwrap();
    let mut request = cluster.request(&images[1]);
    request.deadline = DEADLINE / 2;
    request.read_only = true;
    let two = krbd.map(&request).unwrap();
    let mut request = cluster.request(&images[2]);
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
fn the_error_of_a_missing_image_names_it() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let error = Krbd::new()
        .map(&cluster.request(&cluster.nameless()))
        .unwrap_err();
    eprintln!("{error}");
    assert_eq!(error.errno(), 2);
    assert!(error.to_string().contains("nameless"), "{error}");
}

#[test]
fn images_of_one_name_in_two_namespaces_have_two_devices() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let krbd = Krbd::new();
    let outer = cluster.create("twice", &[]);
    let inner = cluster.create_in(&cluster.namespace("ns"), "twice", &[]);
    let outer = krbd.map(&cluster.request(&outer)).unwrap();
    let inside = krbd.map(&cluster.request(&inner)).unwrap();
    assert_eq!(inside.key, inner.key);
    assert_ne!(inside.device_number, outer.device_number);
    assert_eq!(krbd.map(&cluster.request(&inner)).unwrap(), inside);
    krbd.unmap(&inside, DEADLINE).unwrap();
    krbd.unmap(&outer, DEADLINE).unwrap();
}

#[test]
fn map_creates_the_device_node_if_no_other_program_does() {
    let Some(cluster) = Cluster::from_environment() else {
        return;
    };
    let dev = tempfile::tempdir().unwrap();
    let krbd = Krbd::with_roots("/sys".into(), dev.path().to_owned(), dev.path().join("run"));
    let image = cluster.create("unmanaged", &[]);
    let mapping = krbd.map(&cluster.request(&image)).unwrap();
    assert_eq!(mapping.device.parent(), Some(dev.path()));
    assert!(fs::metadata(&mapping.device)
        .unwrap()
        .file_type()
        .is_block_device());
    assert_eq!(fs::read_dir(dev.path()).unwrap().count(), 1);
    File::open(&mapping.device).unwrap();
    krbd.unmap(&mapping, DEADLINE).unwrap();
}
