//! A simulator of sysfs: the files of the kernel's mappings, in a temporary directory.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use tempfile::TempDir;

use super::{ImageKey, Krbd, MapRequest, MsMode};

/// The attributes of a mapping of `pool/disk`, as Linux 6.1 shows them.
const ATTRIBUTES: [(&str, &str); 13] = [
    ("client_addr", "10.0.0.9:0/1837391163"),
    ("client_id", "client4123"),
    ("cluster_fsid", "7f36e090-d7f8-4f09-8bb3-79ff299de9f4"),
    ("current_snap", "-"),
    ("image_id", "10226b8b4567"),
    ("major", "253"),
    ("minor", "112"),
    ("name", "disk"),
    ("pool", "pool"),
    ("pool_id", "3"),
    ("pool_ns", ""),
    ("size", "1073741824"),
    ("snap_id", "18446744073709551614"),
];

/// The identity of the image of [`ATTRIBUTES`].
pub(super) fn key() -> ImageKey {
    ImageKey {
        fsid: "7f36e090-d7f8-4f09-8bb3-79ff299de9f4".to_owned(),
        pool_id: 3,
        namespace: String::new(),
        image_id: "10226b8b4567".to_owned(),
        snap_id: None,
    }
}

/// A request for that image.
pub(super) fn request() -> MapRequest {
    MapRequest {
        monitors: vec!["10.0.0.1:6789".to_owned(), "10.0.0.2:6789".to_owned()],
        ms_mode: MsMode::Legacy,
        user: "xcp".to_owned(),
        key: SecretString::from("AQAK7yxNeF+nHBAA0SgSdbs8IkJrxroDeJ6SwQ=="),
        image: key(),
        pool_name: "pool".to_owned(),
        image_name: "disk".to_owned(),
        snap_name: None,
        read_only: false,
        noshare: false,
        label: None,
        deadline: Duration::from_secs(1),
    }
}

/// The directory. At first, the module is loaded and nothing is mapped.
pub(super) struct RbdSysfs(TempDir);

impl RbdSysfs {
    pub(super) fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.path("sys/bus/rbd/devices")).unwrap();
        fs::create_dir_all(tree.path("dev")).unwrap();
        for command in ["add", "add_single_major", "remove", "remove_single_major"] {
            tree.write(&format!("bus/rbd/{command}"), "");
        }
        tree
    }

    pub(super) fn krbd(&self) -> Krbd {
        Krbd::with_roots(self.path("sys"), self.path("dev"), self.path("run"))
    }

    /// A path in the directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file below `/sys`.
    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path("sys").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path("sys").join(path)).unwrap()
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.path("sys").join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    /// Adds a mapping of `pool/disk`; `changed` replaces attributes.
    pub(super) fn map(&self, number: u32, changed: &[(&str, &str)]) {
        for (name, value) in ATTRIBUTES.iter().chain(changed) {
            self.write(
                &format!("bus/rbd/devices/{number}/{name}"),
                &format!("{value}\n"),
            );
        }
        self.write(&format!("block/rbd{number}/ro"), "0\n");
    }
}
