//! The cluster of the tests, and unique names.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use librbd::{Cluster, ConnectOptions, CreateOptions, Image, ImageRef, Pool, SnapshotRef};

/// `RBD_FEATURE_LAYERING` and `RBD_FEATURE_EXCLUSIVE_LOCK`.
pub const FEATURES: u64 = 1 | 4;
pub const MIB: u64 = 1 << 20;

/// Prints that a test was skipped to the terminal, also if the test harness captures the output.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let text = format!("\nskipped: {test}: {reason}\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// A connection and a pool, as an ordinary user.
pub struct Fixture {
    pub options: ConnectOptions,
    pub cluster: Cluster,
    pub pool: Pool,
}

impl Fixture {
    pub fn connect() -> Option<Self> {
        let options = options("SMBLOCK_TEST_CEPH_USER")?;
        let Some(pool) = env::var("SMBLOCK_TEST_POOL").ok() else {
            skip("SMBLOCK_TEST_POOL is not set");
            return None;
        };
        let cluster = Cluster::connect(&options).unwrap();
        let pool = cluster.pool(&pool).unwrap();
        pool.ensure_trash_object().unwrap();
        Some(Self {
            options,
            cluster,
            pool,
        })
    }

    /// Another client, as the same user.
    pub fn another(&self) -> Self {
        let cluster = Cluster::connect(&self.options).unwrap();
        let pool = cluster.pool(self.pool.name()).unwrap();
        Self {
            options: self.options.clone(),
            cluster,
            pool,
        }
    }

    /// A name that no other test and no other run uses.
    pub fn name(&self, what: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("test.{}.{number}.{what}", self.cluster.instance_id())
    }

    /// A new image of 8 MiB, open for writing.
    pub fn image(&self, what: &str) -> (String, Image) {
        let name = self.name(what);
        self.pool.image_create(&name, 8 * MIB, &plain()).unwrap();
        let image = self.pool.image_open(&ImageRef::Name(&name), false).unwrap();
        (name, image)
    }

    /// Clones a snapshot of an image. Returns the clone's name.
    pub fn clone_of(&self, parent: &str, snapshot: &str) -> String {
        let child = self.name("child");
        let (parent, at) = (ImageRef::Name(parent), SnapshotRef::Name(snapshot));
        self.pool
            .image_clone(&parent, &at, &child, &plain())
            .unwrap();
        child
    }

    /// Removes an image, which must not be open.
    pub fn remove(&self, name: &str) {
        let image = self.pool.image_open(&ImageRef::Name(name), false).unwrap();
        for snapshot in image.snapshots().unwrap() {
            image.snapshot_remove(snapshot.id).unwrap();
        }
        let id = image.id().unwrap();
        image.close().unwrap();
        self.pool.trash_move(name, 0).unwrap();
        self.pool.trash_remove(&id, true, &mut |_, _| {}).unwrap();
    }
}

pub fn plain() -> CreateOptions {
    CreateOptions {
        features: FEATURES,
        ..CreateOptions::default()
    }
}

/// The options for the test cluster, as the user in `variable`.
pub fn options(variable: &str) -> Option<ConnectOptions> {
    match (env::var_os("SMBLOCK_TEST_CEPH_CONF"), env::var(variable)) {
        (Some(conf), Ok(user)) => {
            let conf = Some(PathBuf::from(conf));
            Some(ConnectOptions {
                conf,
                ..ConnectOptions::new(user)
            })
        }
        (None, _) => {
            skip("SMBLOCK_TEST_CEPH_CONF is not set");
            None
        }
        (_, Err(_)) => {
            skip(&format!("{variable} is not set"));
            None
        }
    }
}
