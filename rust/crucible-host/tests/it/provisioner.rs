//! The protocol of provisioners.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crucible_host::provisioner::Provisioner;
use crucible_host::{Error, KeySource, Volume};
use procfs::process::Process;
use serde_json::{json, Value};
use tempfile::TempDir;
use uuid::{uuid, Uuid};

const SR: Uuid = uuid!("11111111-1111-4111-8111-111111111111");
const WEB: Uuid = uuid!("22222222-2222-4222-8222-222222222222");
const COPY: Uuid = uuid!("33333333-3333-4333-8333-333333333333");

/// A provisioner that is a shell script, with a directory for its output.
struct Script {
    directory: TempDir,
    provisioner: Provisioner,
}

impl Script {
    /// A script that records its request and its arguments, then runs `commands`.
    fn new(commands: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("provisioner");
        let text = format!(
            "#!/bin/sh\ncd {}\ncat > request\necho \"$@\" > arguments\n{commands}\n",
            directory.path().display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let config = BTreeMap::from([("pool".to_owned(), "tank".to_owned())]);
        let provisioner = Provisioner::new(path, SR, config);
        Script {
            directory,
            provisioner,
        }
    }

    /// A script that sends that reply.
    fn replying(reply: &Value) -> Self {
        Self::new(&format!("cat <<'END'\n{reply}\nEND"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn request(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file("request")).unwrap()).unwrap()
    }
}

fn written(uuid: Uuid, first: u16) -> Value {
    json!({
        "uuid": uuid, "name": "web1 root", "description": "a disk", "size": 10485760, "generation": 41,
        "targets": [format!("10.0.0.1:{first}"), format!("10.0.0.2:{first}"), format!("10.0.0.3:{first}")],
    })
}

fn volume(uuid: Uuid, first: u16) -> Volume {
    Volume {
        uuid,
        name: "web1 root".to_owned(),
        description: "a disk".to_owned(),
        size: 10 << 20,
        targets: [1, 2, 3].map(|node| ([10, 0, 0, node], first).into()),
        regions: None,
        generation_floor: 41,
        key: None,
    }
}

#[test]
fn create_gets_its_request_on_stdin_and_no_arguments() {
    let script = Script::replying(&json!({"volume": written(WEB, 3810)}));
    let made = script
        .provisioner
        .create(&WEB, "web1 root", 10 << 20)
        .unwrap();
    assert_eq!(made, volume(WEB, 3810));
    let asked = json!({
        "version": 1, "command": "create", "sr": SR, "config": {"pool": "tank"},
        "volume": {"uuid": WEB, "name": "web1 root", "description": "", "size": 10485760},
    });
    assert_eq!(script.request(), asked);
    assert_eq!(fs::read_to_string(script.file("arguments")).unwrap(), "\n");
}

#[test]
fn copy_gets_all_fields_of_the_source() {
    let script = Script::replying(&json!({"volume": written(COPY, 3820)}));
    let mut source = volume(WEB, 3810);
    source.key = Some(KeySource::Secret(SR));
    let copy = script.provisioner.copy(&source, &COPY).unwrap();
    assert_eq!(copy, volume(COPY, 3820));
    let request = script.request();
    let mut all = written(WEB, 3810);
    all["key_secret"] = json!(SR);
    assert_eq!(
        (&request["command"], &request["source"]),
        (&json!("copy"), &all)
    );
    assert_eq!(request["volume"]["uuid"], json!(COPY));
    assert_eq!(request["volume"]["size"], json!(10 << 20));
}

#[test]
fn delete_gets_all_fields_of_the_volume() {
    let script = Script::replying(&json!({}));
    script.provisioner.delete(&volume(WEB, 3810)).unwrap();
    assert_eq!(script.request()["volume"], written(WEB, 3810));
}

#[test]
fn list_returns_all_volumes_and_the_free_space() {
    let volumes = json!([written(WEB, 3810), written(COPY, 3820)]);
    let script = Script::replying(&json!({"volumes": volumes, "total": 1000, "free": null}));
    let listing = script.provisioner.list().unwrap();
    assert_eq!(listing.volumes, [volume(WEB, 3810), volume(COPY, 3820)]);
    assert_eq!((listing.total, listing.free), (Some(1000), None));
}

#[test]
fn find_returns_one_volume() {
    let script = Script::replying(&json!({"volume": written(WEB, 3810)}));
    assert_eq!(
        script.provisioner.find(&WEB).unwrap(),
        Some(volume(WEB, 3810))
    );
    let request = script.request();
    assert_eq!(request["command"], json!("find"));
    assert_eq!(request["volume"], json!({"uuid": WEB}));
    let other = script.provisioner.find(&COPY).unwrap_err().to_string();
    assert!(other.contains("it replied with volume 2222"), "{other}");
    let none = Script::replying(&json!({"volume": null}));
    assert_eq!(none.provisioner.find(&WEB).unwrap(), None);
}

#[test]
fn a_volume_may_have_the_uuids_of_its_three_regions() {
    let mut with_regions = written(WEB, 3810);
    with_regions["regions"] = json!([WEB, WEB, WEB]);
    let script = Script::replying(&json!({"volume": with_regions}));
    let found = script.provisioner.find(&WEB).unwrap().unwrap();
    assert_eq!(found.regions, Some([WEB; 3]));
    script.provisioner.delete(&found).unwrap();
    assert_eq!(
        script.request()["volume"]["regions"],
        json!([WEB, WEB, WEB])
    );
    with_regions["regions"] = json!([WEB]);
    let script = Script::replying(&json!({"volume": with_regions}));
    let error = script.provisioner.find(&WEB).unwrap_err().to_string();
    assert!(
        error.contains("regions: 1 regions: write the `uuid`"),
        "{error}"
    );
}

#[test]
fn a_list_with_one_unusable_volume_is_an_error() {
    let mut broken = written(COPY, 3820);
    broken["targets"][1] = json!("node2");
    let unusable = [
        (
            json!([written(WEB, 3810), broken]),
            "\"node2\" is no address of a downstairs",
        ),
        (
            json!([written(WEB, 3810), written(COPY, 3810)]),
            "belongs to volume 2222",
        ),
        (json!([written(WEB, 3810), {"uuid": COPY}]), "missing field"),
    ];
    for (volumes, expected) in unusable {
        let script = Script::replying(&json!({ "volumes": volumes }));
        let error = script.provisioner.list().unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("list the volumes of SR 1111"),
            "{error}"
        );
    }
    let silent = Script::new("true")
        .provisioner
        .list()
        .unwrap_err()
        .to_string();
    assert!(
        silent.contains("its reply to the command has another form"),
        "{silent}"
    );
}

#[test]
fn a_reply_with_another_volume_or_a_smaller_one_is_an_error() {
    for reply in [written(COPY, 3810), written(WEB, 3810)] {
        let script = Script::replying(&json!({ "volume": reply }));
        let error = script
            .provisioner
            .create(&WEB, "web1 root", 20 << 20)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("of 10485760 bytes, not with one of 20971520"),
            "{error}"
        );
    }
}

#[test]
fn the_error_has_the_stderr_of_the_provisioner() {
    let script = Script::new("echo half; echo 'tank: no space left' >&2; exit 3");
    let error = script
        .provisioner
        .create(&WEB, "web1 root", 512)
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Provisioner {
            command: "create",
            ..
        }
    ));
    let text = error.to_string();
    for part in [
        "/provisioner could not create volume 2222",
        "code 3",
        "tank: no space left",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let mut script = Script::new("true");
    script.provisioner.path = "/nonexistent".into();
    let text = script.provisioner.list().unwrap_err().to_string();
    assert!(
        text.contains("/nonexistent") && text.contains("ENOENT (2)"),
        "{text}"
    );
}

#[test]
fn a_provisioner_that_hangs_is_killed_with_its_children() {
    let mut script = Script::new("sleep 60 & echo $! > child; wait");
    script.provisioner.deadline = Duration::from_millis(300);
    let text = script.provisioner.list().unwrap_err().to_string();
    assert!(text.contains("did not end within 0.3 s"), "{text}");
    let child = fs::read_to_string(script.file("child")).unwrap();
    let child: i32 = child.trim().parse().unwrap();
    let gone = || {
        Process::new(child)
            .and_then(|child| child.stat())
            .map_or(true, |stat| stat.state == 'Z')
    };
    assert!((0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        gone()
    }));
}

#[test]
fn a_provisioner_need_not_read_its_request() {
    let script = Script::replying(&json!({}));
    let text = fs::read_to_string(&script.provisioner.path).unwrap();
    fs::write(
        &script.provisioner.path,
        text.replace("cat > request", "exec <&-"),
    )
    .unwrap();
    script.provisioner.delete(&volume(WEB, 3810)).unwrap();
}
