//! The error of a change names the lock or the client that prevents it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use librbd::{ImageRef, Pool};

use crate::fixture::{plain, MIB};
use crate::own_pool::OwnPool;

/// The command `rbd`, as the administrator.
fn rbd(own: &OwnPool, words: &[&str]) -> Command {
    let conf = own.options.conf.as_deref().unwrap_or(Path::new(""));
    let mut command = Command::new("rbd");
    // The command uses the libraries of this host, even if the tests use others.
    command.env_remove("LD_LIBRARY_PATH");
    command.arg("--conf").arg(conf).args(["--id", "admin"]);
    command.args(words);
    command
}

pub fn run(own: &OwnPool, words: &[&str]) {
    let done = rbd(own, words).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// A client that has the exclusive lock of an image, and is stopped.
pub struct FrozenClient {
    process: Child,
    client: String,
    address: String,
}

impl FrozenClient {
    pub fn freeze(own: &OwnPool, pool: &Pool, id: &str) -> Self {
        let image = format!("{}/image", own.pool);
        let words = ["bench", "--io-type", "write", "--io-total", "100G", &image];
        let mut command = rbd(own, &words);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let client = loop {
            let lock = pool.header(id).lock().unwrap();
            assert_eq!(lock.set_by_hand(), None);
            if let Some(owner) = lock.owners.first() {
                break owner.client.clone();
            }
            assert!(Instant::now() < end, "nobody takes the lock");
            std::thread::sleep(Duration::from_millis(50));
        };
        let pid = i32::try_from(process.id()).unwrap();
        // SAFETY: the process is ours and was not waited for.
        assert_eq!(unsafe { nix::libc::kill(pid, nix::libc::SIGSTOP) }, 0);
        let image = pool.image_open(&ImageRef::Id(id), true).unwrap();
        let watchers = image.watchers().unwrap();
        let address = watchers[0].address.clone();
        Self {
            process,
            client,
            address,
        }
    }

    pub fn client(&self) -> String {
        self.client.clone()
    }

    /// Ends and fences it, so that its lock blocks no other client.
    pub fn end(mut self, own: &OwnPool) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let minute = Duration::from_secs(60);
        own.admin.blocklist(&self.address, minute).unwrap();
    }
}

#[test]
fn a_lock_set_by_hand_refuses_each_change_at_once() {
    let Some(own) = OwnPool::create("locked") else {
        return;
    };
    let pool = own.user();
    pool.image_create("image", 8 * MIB, &plain()).unwrap();
    let id = pool.image_id("image").unwrap().unwrap();
    let image = pool.image_open(&ImageRef::Id(&id), false).unwrap();
    let snap = image.snapshot_create("before").unwrap();
    image.close().unwrap(); // releases the automatic lock
    let spec = format!("{}/image", own.pool);
    run(&own, &["lock", "add", &spec, "my lock"]);

    let image = pool.image_open(&ImageRef::Id(&id), false).unwrap();
    let lock = pool.header(&id).lock().unwrap();
    let owner = lock.set_by_hand().unwrap();
    assert_eq!(owner.cookie, "my lock");
    let remedy = format!("rbd lock rm {spec} 'my lock' {}", owner.client);
    let start = Instant::now();
    let refused = [
        pool.trash_move("image", 0),
        image.snapshot_create("after").map(drop),
        image.snapshot_remove(snap),
        image.resize(16 * MIB, false, &mut |_, _| {}),
        image.metadata_set("key", "value"),
        image.write_at(0, b"data"),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!(error.errno(), Some(16), "{error}");
        assert!(error.to_string().contains(&remedy), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(image.lock().unwrap(), lock);
    assert_eq!(image.snapshots().unwrap().len(), 1);

    run(&own, &["lock", "rm", &spec, "my lock", &owner.client]);
    image.snapshot_remove(snap).unwrap();
    image.write_at(0, b"data").unwrap();
    let lock = pool.header(&id).lock().unwrap();
    assert_eq!((lock.owners.len(), lock.set_by_hand()), (1, None));
    image.close().unwrap();
    pool.trash_move("image", 0).unwrap();
    pool.trash_remove(&id, true, &mut |_, _| {}).unwrap();
}

#[test]
fn the_limit_of_an_images_snapshots_is_not_a_quota() {
    let Some(own) = OwnPool::create("limit") else {
        return;
    };
    let pool = own.user();
    pool.image_create("image", 8 * MIB, &plain()).unwrap();
    let spec = format!("{}/image", own.pool);
    run(&own, &["snap", "limit", "set", &spec, "--limit", "1"]);
    let image = pool.image_open(&ImageRef::Name("image"), false).unwrap();
    image.snapshot_create("first").unwrap();
    let error = image.snapshot_create("second").unwrap_err();
    assert!(!error.is_out_of_space(), "{error}");
    let remedy = format!("rbd snap limit clear {spec}");
    assert!(error.to_string().contains(&remedy), "{error}");
}
