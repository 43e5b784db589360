//! The pre-flight check prints a line for each part, and for each fault the command that fixes it.

use std::fs;
use std::path::PathBuf;
use std::sync::RwLockReadGuard;
use std::time::{Duration, Instant};

use librbd::{Cluster, ConnectOptions};
use serde_json::json;
use sr::check::{CheckLine, Outcome};
use sr_ceph::check::check_within;
use sr_ceph::device_config::DeviceConfig;

use super::pool::shared;

const TOPICS: [&str; 16] = [
    "client library",
    "ceph.conf",
    "keyring",
    "monitors",
    "user",
    "mon caps",
    "clock",
    "blocklist",
    "exclusive lock",
    "pool",
    "pool application",
    "pool usage",
    "osd caps",
    "mgr caps",
    "kernel module",
    "image features",
];

/// Runs the check. The caller holds [`shared`] or a [`Lab`].
fn check(pairs: &[(&str, &str)]) -> Vec<CheckLine> {
    let pairs = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let lines = check_within(&DeviceConfig::parse(pairs).unwrap(), Duration::from_secs(2));
    let topics: Vec<_> = lines.iter().map(|line| line.topic).collect();
    assert_eq!(topics, TOPICS, "each part has one line");
    lines
}

fn on<'a>(lines: &'a [CheckLine], topic: &str) -> &'a Outcome {
    &lines
        .iter()
        .find(|line| line.topic == topic)
        .unwrap()
        .outcome
}

fn assert_fixed_by(outcome: &Outcome, command: &str) {
    match outcome {
        Outcome::Failed { remedy, .. } | Outcome::Warning { remedy, .. } => {
            assert!(remedy.contains(command), "{command} is not in: {remedy}");
        }
        other => panic!("expected a fault fixed by {command}, got {other:?}"),
    }
}

fn assert_not_run(lines: &[CheckLine], topics: &[&str]) {
    for topic in topics {
        let outcome = on(lines, topic);
        assert!(matches!(outcome, Outcome::NotRun { .. }), "{outcome:?}");
    }
}

/// A temporary directory of one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("smblock-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_missing_ceph_conf_is_reported_with_the_command_that_makes_it() {
    let _cluster = shared();
    let lines = check(&[("pool", "rbd"), ("conf", "/nonexistent/ceph.conf")]);
    assert_fixed_by(on(&lines, "ceph.conf"), "ceph config generate-minimal-conf");
    assert_not_run(&lines, &TOPICS[3..11]);
}

#[test]
fn a_missing_keyring_is_reported_with_the_command_that_gets_it() {
    let _cluster = shared();
    let lines = check(&[("user", "xcp"), ("keyring", "/nonexistent/keyring")]);
    assert_fixed_by(on(&lines, "keyring"), "ceph auth get client.xcp");
}

#[test]
fn the_check_ends_within_its_deadline_if_monitors_are_silent() {
    let _cluster = shared();
    let directory = Directory::new("silent");
    let conf = directory.file("ceph.conf", "[global]\nmon_host = 127.0.0.1:1\n");
    let key = "AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jTQ==";
    let keyring = directory.file("keyring", &format!("[client.xcp]\nkey = {key}\n"));
    let started = Instant::now();
    let lines = check(&[
        ("pool", "rbd"),
        ("conf", &conf),
        ("user", "xcp"),
        ("keyring", &keyring),
    ]);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_fixed_by(on(&lines, "keyring"), &format!("chmod 600 {keyring}"));
    assert_fixed_by(on(&lines, "monitors"), "ceph mon dump");
    assert_not_run(&lines, &TOPICS[4..11]);
    let all: String = lines.iter().map(ToString::to_string).collect();
    assert!(!all.contains(key));
}

/// A cluster and a connection as its administrator, which makes users with given caps.
struct Lab {
    conf: String,
    pool: String,
    admin: Cluster,
    directory: Directory,
    _cluster: RwLockReadGuard<'static, ()>,
}

impl Lab {
    fn reach(name: &str) -> Option<Self> {
        let variable = |name| std::env::var(name).ok();
        let found = variable("SMBLOCK_TEST_CEPH_CONF").zip(variable("SMBLOCK_TEST_POOL"));
        let Some((conf, pool)) = found else {
            eprintln!("skipped: SMBLOCK_TEST_CEPH_CONF and SMBLOCK_TEST_POOL are not set");
            return None;
        };
        let mut options = ConnectOptions::new("admin");
        options.conf = Some(conf.clone().into());
        Some(Self {
            admin: Cluster::connect(&options).unwrap(),
            directory: Directory::new(name),
            conf,
            pool,
            _cluster: shared(),
        })
    }

    /// Runs the check as a user with these caps. Makes the user, and removes it.
    fn check_as(&self, user: &str, caps: &[&str]) -> Vec<CheckLine> {
        let entity = format!("client.{user}");
        let make = json!({"prefix": "auth get-or-create", "entity": entity, "caps": caps});
        let keyring = self.admin.mon_command(&make).unwrap();
        let keyring = String::from_utf8(keyring).unwrap();
        let keyring = self.directory.file(user, &keyring);
        let lines = check(&[
            ("pool", &self.pool),
            ("conf", &self.conf),
            ("user", user),
            ("keyring", &keyring),
        ]);
        let remove = json!({"prefix": "auth del", "entity": entity});
        self.admin.mon_command(&remove).unwrap();
        lines
    }
}

#[test]
fn the_user_of_the_setup_page_has_all_caps_that_are_needed() {
    let Some(lab) = Lab::reach("least") else {
        return;
    };
    let profile = format!("profile rbd pool={}", lab.pool);
    let caps = ["mon", "profile rbd", "osd", &profile, "mgr", &profile];
    let lines = lab.check_as("check-least", &caps);
    for topic in &TOPICS[3..11] {
        let outcome = on(&lines, topic);
        assert!(matches!(outcome, Outcome::Ok(_)), "{topic}: {outcome:?}");
    }
}

#[test]
fn each_missing_cap_is_reported_with_the_command_that_grants_it() {
    let Some(lab) = Lab::reach("caps") else {
        return;
    };
    let pool = &lab.pool;
    let profile = format!("profile rbd pool={pool}");
    let reading = format!("profile rbd-read-only pool={pool}");
    let grant = format!("mon 'profile rbd' osd '{profile}' mgr '{profile}'");
    for (user, caps, lacking) in [
        (
            "check-mon",
            ["mon", "allow r", "osd", &profile, "mgr", &profile],
            "mon caps",
        ),
        (
            "check-osd",
            ["mon", "profile rbd", "osd", &reading, "mgr", &profile],
            "osd caps",
        ),
        (
            "check-mgr",
            ["mon", "profile rbd", "osd", &profile, "mds", "allow r"],
            "mgr caps",
        ),
    ] {
        let lines = lab.check_as(user, &caps);
        assert_fixed_by(
            on(&lines, lacking),
            &format!("ceph auth caps client.{user} {grant}"),
        );
        for topic in ["mon caps", "osd caps", "mgr caps"] {
            let fine = matches!(on(&lines, topic), Outcome::Ok(_));
            assert_eq!(fine, topic != lacking, "{user}: {:?}", on(&lines, topic));
        }
    }
}

#[test]
fn an_unknown_user_is_reported_with_the_command_that_makes_it() {
    let Some(lab) = Lab::reach("unknown") else {
        return;
    };
    let key = "AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jTQ==";
    let keyring = lab
        .directory
        .file("keyring", &format!("[client.nobody]\nkey = {key}\n"));
    let lines = check(&[
        ("pool", &lab.pool),
        ("conf", &lab.conf),
        ("user", "nobody"),
        ("keyring", &keyring),
    ]);
    assert!(matches!(on(&lines, "monitors"), Outcome::Ok(_)));
    assert_fixed_by(on(&lines, "user"), "ceph auth get-or-create client.nobody");
}

#[test]
fn a_missing_pool_is_reported_with_the_pools_that_exist() {
    let Some(lab) = Lab::reach("pool") else {
        return;
    };
    let lines = check(&[("pool", "no-such-pool"), ("conf", &lab.conf)]);
    let outcome = on(&lines, "pool");
    assert_fixed_by(outcome, "ceph osd pool application enable no-such-pool rbd");
    assert!(format!("{outcome:?}").contains(&lab.pool), "{outcome:?}");
    assert_not_run(&lines, &TOPICS[10..14]);
}
