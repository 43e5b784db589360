use super::*;

const TAPDISK: u32 = 4711;
const LIMITS: Limits = Limits {
    iops: Some(500),
    bytes: Some(20_000_000),
};

/// Trees of control groups as files, with a process in the group `vm.slice`.
struct Trees {
    directory: tempfile::TempDir,
    groups: ControlGroups,
}

impl Trees {
    /// `cgroup`: what the process's file in /proc has.
    fn new(v1: bool, v2: bool, cgroup: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let trees = Trees {
            groups: ControlGroups {
                blkio: v1.then(|| at("blkio")),
                unified: v2.then(|| at("unified")),
                proc: at("proc"),
            },
            directory,
        };
        trees.put(&format!("proc/{TAPDISK}/cgroup"), cgroup);
        if v1 {
            for group in ["blkio", "blkio/vm.slice"] {
                for file in V1.concat() {
                    trees.put(&format!("{group}/{file}"), "");
                }
            }
        }
        if v2 {
            trees.put("unified/cgroup.subtree_control", "");
            trees.put("unified/vm.slice/io.max", "");
        }
        trees
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.directory.path().join(path)).unwrap_or_default()
    }
}

fn device(user: Option<u32>) -> Device {
    Device {
        name: "/dev/rbd0".to_owned(),
        number: "252:0".to_owned(),
        user,
    }
}

const V1_OF_TAPDISK: &str = "4:cpu,cpuacct:/vm.slice\n3:blkio:/vm.slice\n1:name=systemd:/\n0::/\n";

#[test]
fn tapdisks_group_of_v1_gets_the_limits_of_reads_and_writes() {
    let trees = Trees::new(true, true, V1_OF_TAPDISK);
    let held = trees.groups.set(&device(Some(TAPDISK)), LIMITS).unwrap();
    assert_eq!(held, LIMITS);
    for (file, line) in [
        ("read_iops_device", "252:0 500\n"),
        ("write_iops_device", "252:0 500\n"),
        ("read_bps_device", "252:0 20000000\n"),
        ("write_bps_device", "252:0 20000000\n"),
    ] {
        let found = trees.text(&format!("blkio/vm.slice/blkio.throttle.{file}"));
        assert_eq!(found, line, "{file}");
        let root = trees.text(&format!("blkio/blkio.throttle.{file}"));
        assert_eq!(root, "", "{file}");
    }
}

#[test]
fn blkbacks_limits_of_v1_are_those_of_the_root_group() {
    let trees = Trees::new(true, false, "");
    trees.groups.set(&device(None), LIMITS).unwrap();
    assert_eq!(
        trees.text("blkio/blkio.throttle.read_iops_device"),
        "252:0 500\n"
    );
    assert_eq!(trees.groups.get(&device(None)).unwrap(), LIMITS);
}

#[test]
fn a_limit_of_an_earlier_device_of_the_same_number_is_removed() {
    for user in [None, Some(TAPDISK)] {
        let trees = Trees::new(true, false, V1_OF_TAPDISK);
        let group = if user.is_some() {
            "blkio/vm.slice"
        } else {
            "blkio"
        };
        let file = format!("{group}/blkio.throttle.read_iops_device");
        trees.put(&file, "8:0 7\n252:0 500\n");
        let none = Limits::default();
        assert_eq!(trees.groups.set(&device(user), none).unwrap(), none);
        assert_eq!(trees.text(&file), "252:0 0\n", "what the kernel gets");
        // Nothing is written for a limit that does not exist.
        let other = format!("{group}/blkio.throttle.write_bps_device");
        assert_eq!(trees.text(&other), "");
    }
    let trees = Trees::new(false, true, "0::/vm.slice\n");
    trees.put(
        "unified/vm.slice/io.max",
        "252:0 rbps=max wbps=max riops=500 wiops=500\n",
    );
    trees
        .groups
        .set(&device(Some(TAPDISK)), Limits::default())
        .unwrap();
    let removed = "252:0 rbps=max wbps=max riops=max wiops=max\n";
    assert_eq!(trees.text("unified/vm.slice/io.max"), removed);
}

#[test]
fn another_devices_limit_is_not_this_devices() {
    let trees = Trees::new(true, false, V1_OF_TAPDISK);
    trees.put(
        "blkio/vm.slice/blkio.throttle.read_iops_device",
        "252:16 9\n1252:0 8\n",
    );
    let found = trees.groups.get(&device(Some(TAPDISK))).unwrap();
    assert_eq!(found, Limits::default());
}

#[test]
fn tapdisks_group_of_v2_gets_all_limits_in_one_line() {
    let trees = Trees::new(false, true, "0::/vm.slice\n");
    let only_iops = Limits {
        bytes: None,
        ..LIMITS
    };
    assert_eq!(
        trees.groups.set(&device(Some(TAPDISK)), only_iops).unwrap(),
        only_iops
    );
    let line = "252:0 rbps=max wbps=max riops=500 wiops=500\n";
    assert_eq!(trees.text("unified/vm.slice/io.max"), line);
}

#[test]
fn a_tapdisk_in_the_root_group_of_v2_gets_a_group_of_its_own() {
    let trees = Trees::new(false, true, "0::/\n");
    trees.put("unified/smblock/io.max", "");
    trees.put("unified/smblock/cgroup.procs", "");
    trees.groups.set(&device(Some(TAPDISK)), LIMITS).unwrap();
    assert_eq!(trees.text("unified/smblock/cgroup.procs"), "4711\n");
    assert_eq!(trees.text("unified/cgroup.subtree_control"), "+io\n");
    let line = "252:0 rbps=20000000 wbps=20000000 riops=500 wiops=500\n";
    assert_eq!(trees.text("unified/smblock/io.max"), line);
    // Without limits it stays where it is.
    let trees = Trees::new(false, true, "0::/\n");
    trees
        .groups
        .set(&device(Some(TAPDISK)), Limits::default())
        .unwrap();
    assert!(!trees.directory.path().join("unified/smblock").exists());
}

#[test]
fn a_host_without_the_controller_refuses_limits_and_not_their_absence() {
    let absent = Trees::new(false, false, "0::/\n");
    let without_file = Trees::new(false, true, "0::/system.slice\n");
    for trees in [absent, without_file] {
        let refused = trees
            .groups
            .set(&device(Some(TAPDISK)), LIMITS)
            .unwrap_err();
        assert!(
            matches!(refused, ThrottleError::NoController { .. }),
            "{refused}"
        );
        assert_eq!(refused.id(), "SMB-H015");
        let none = Limits::default();
        assert_eq!(
            trees.groups.set(&device(Some(TAPDISK)), none).unwrap(),
            none
        );
    }
    let trees = Trees::new(false, true, "");
    let refused = trees.groups.set(&device(None), LIMITS).unwrap_err();
    assert!(
        matches!(refused, ThrottleError::RootGroup { .. }),
        "{refused}"
    );
}

#[test]
fn a_process_that_has_ended_is_an_error_that_names_its_file() {
    let trees = Trees::new(true, false, V1_OF_TAPDISK);
    let refused = trees.groups.set(&device(Some(1)), LIMITS).unwrap_err();
    assert!(refused.to_string().contains("proc/1/cgroup"), "{refused}");
}
