//! The cluster of the environment, and images in it.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostdev::{ImageKey, MapRequest, MsMode, SecretString};

/// The size of every image, in bytes.
pub const SIZE: u64 = 16 << 20;
/// Set for the child process of a test that holds the lock.
pub const NO_LOCK: &str = "SMBLOCK_TEST_NO_LOCK";

/// One test at a time: a map that hangs in the kernel blocks every other map of the host.
static LOCK: Mutex<()> = Mutex::new(());

/// The cluster. It is used for tests only: the images stay in it.
pub struct Cluster {
    conf: String,
    pub monitors: Vec<String>,
    ms_mode: MsMode,
    fsid: String,
    pool: String,
    pool_id: i64,
    /// The cephx user that maps.
    pub user: String,
    key: String,
    _lock: Option<MutexGuard<'static, ()>>,
}

/// An image, or a snapshot of one.
pub struct Image {
    pub key: ImageKey,
    name: String,
    snap_name: Option<String>,
}

impl Cluster {
    /// `None` with a message if the environment has no cluster.
    pub fn from_environment() -> Option<Self> {
        let variable = |name: &str| {
            let name = format!("SMBLOCK_TEST_CEPH_{name}");
            std::env::var(&name)
                .inspect_err(|_| eprintln!("skipped: {name} is not set"))
                .ok()
        };
        Some(Self {
            conf: variable("CONF")?,
            monitors: variable("MONITORS")?
                .split(',')
                .map(str::to_owned)
                .collect(),
            ms_mode: MsMode::parse(&variable("MS_MODE")?).unwrap(),
            fsid: variable("FSID")?,
            pool: variable("POOL")?,
            pool_id: variable("POOL_ID")?.parse().unwrap(),
            user: variable("USER")?,
            key: fs::read_to_string(variable("KEYFILE")?)
                .unwrap()
                .trim()
                .to_owned(),
            _lock: std::env::var_os(NO_LOCK)
                .is_none()
                .then(|| LOCK.lock().unwrap_or_else(PoisonError::into_inner)),
        })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// Runs `rbd`, which must succeed, and returns its output.
    pub fn rbd(&self, arguments: &[&str]) -> String {
        let output = Command::new("rbd")
            .args(["--conf", &self.conf])
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rbd {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A name that no other run uses. The boot is part of it: a guest has the same pids after every boot.
    fn unique(name: &str) -> String {
        let boot = hostos::boot_id().unwrap();
        format!("krbd-test-{}-{}-{name}", &boot[..8], std::process::id())
    }

    /// Creates an image; by default with the features that every kernel supports.
    pub fn create(&self, name: &str, options: &[&str]) -> Image {
        self.create_in("", name, options)
    }

    /// Creates a namespace.
    pub fn namespace(&self, name: &str) -> String {
        let name = Self::unique(name);
        self.rbd(&["namespace", "create", &format!("{}/{name}", self.pool)]);
        name
    }

    /// Creates an image in a namespace.
    pub fn create_in(&self, namespace: &str, name: &str, options: &[&str]) -> Image {
        let mut image = Image {
            key: self.key_of(""),
            name: Self::unique(name),
            snap_name: None,
        };
        image.key.namespace = namespace.to_owned();
        let spec = self.spec(&image);
        let size = format!("{SIZE}B");
        let default = ["--image-feature", "layering,exclusive-lock"];
        let options = if options.is_empty() {
            &default
        } else {
            options
        };
        self.rbd(&[&["create", "--size", &size], options, &[&spec]].concat());
        image.key.image_id = self.json(&["info", &spec])["id"]
            .as_str()
            .unwrap()
            .to_owned();
        image
    }

    pub fn snapshot(&self, image: &Image, name: &str) -> Image {
        let spec = self.spec(image);
        self.rbd(&["snap", "create", "--no-progress", &format!("{spec}@{name}")]);
        let listed = self.json(&["snap", "ls", &spec]);
        let listed = listed.as_array().unwrap();
        let taken = listed.iter().find(|snap| snap["name"] == name).unwrap();
        Image {
            key: ImageKey {
                snap_id: taken["id"].as_u64(),
                ..image.key.clone()
            },
            name: image.name.clone(),
            snap_name: Some(name.to_owned()),
        }
    }

    /// The image's name for `rbd`.
    pub fn spec(&self, image: &Image) -> String {
        match image.key.namespace.as_str() {
            "" => format!("{}/{}", self.pool, image.name),
            namespace => format!("{}/{namespace}/{}", self.pool, image.name),
        }
    }

    /// A writable request, with a deadline for an emulated guest.
    pub fn request(&self, image: &Image) -> MapRequest {
        MapRequest {
            monitors: self.monitors.clone(),
            ms_mode: self.ms_mode,
            user: self.user.clone(),
            key: SecretString::from(self.key.as_str()),
            image: image.key.clone(),
            pool_name: self.pool.clone(),
            image_name: image.name.clone(),
            snap_name: image.snap_name.clone(),
            read_only: false,
            noshare: false,
            label: None,
            deadline: Duration::from_secs(60),
        }
    }

    /// An image that does not exist.
    pub fn nameless(&self) -> Image {
        Image {
            key: self.key_of("000000000000"),
            name: "nameless".to_owned(),
            snap_name: None,
        }
    }

    fn key_of(&self, image_id: &str) -> ImageKey {
        ImageKey {
            fsid: self.fsid.clone(),
            pool_id: self.pool_id,
            namespace: String::new(),
            image_id: image_id.to_owned(),
            snap_id: None,
        }
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.rbd(&[&["--format", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap()
    }
}
