//! The kernel's files about its RBD devices, and this host's own files about them.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use hostdev::Krbd;
use tempfile::TempDir;

const ATTRIBUTES: [&str; 13] = [
    "client_addr",
    "client_id",
    "cluster_fsid",
    "current_snap",
    "image_id",
    "major",
    "minor",
    "name",
    "pool",
    "pool_id",
    "pool_ns",
    "size",
    "snap_id",
];

/// One device, number 0; its files are replaced each time.
fn root() -> &'static Path {
    static ROOT: OnceLock<TempDir> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let root = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        for directory in ["sys/bus/rbd/devices/0", "sys/block/rbd0", "dev", "run"] {
            fs::create_dir_all(root.path().join(directory)).expect("a directory");
        }
        root
    });
    root.path()
}

fn write(path: &str, text: &[u8]) {
    fs::write(root().join(path), text).expect("a file");
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // One value after another, with a NUL between them.
    let mut values = data.split(|byte| *byte == 0);
    let mut next = || values.next().unwrap_or(b"");
    for name in ATTRIBUTES {
        write(&format!("sys/bus/rbd/devices/0/{name}"), next());
    }
    write("sys/block/rbd0/ro", next());
    write("sys/bus/rbd/supported_features", next());
    write("run/rbd0.json", next());
    let krbd = Krbd::with_roots(root().join("sys"), root().join("dev"), root().join("run"));
    match krbd.mappings() {
        // A device that is shown is an entry of the list, or an error.
        Ok(found) => assert_eq!(found.len(), 1),
        Err(error) => {
            let _ = error.to_string();
        }
    }
    let _ = krbd.supported_features();
});
