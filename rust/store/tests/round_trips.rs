//! What each operation costs in calls of librados and librbd, on a real cluster: as many as the
//! table says, no more.
//!
//! ```text
//! SMBLOCK_TEST_CEPH_CONF=…/ceph.conf SMBLOCK_TEST_CEPH_USER=xcp SMBLOCK_TEST_POOL=rbd \
//!     cargo test -p store --test round_trips
//! ```
//! The user needs what README asks for, and no more. Alone in its process: the counters are one
//! for all. An operation that got cheaper fails too, so that the table stays true.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use librbd::calls;
use store::ceph::{connect, CephPool};
use store::device_config::DeviceConfig;
use store::dom0::{Dom0, Toolstack};
use store::image_features::ImageFeatures;
use store::record::VdiRecord;
use store::vdi::create::NewDisk;
use store::xapi::{XapiFields, XapiVdi};
use store::Repository;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(30);
const GIB: u64 = 1 << 30;

/// Calls that send nothing: they prepare a request, take an answer apart, give memory back, or
/// read what this process knows already. Every other function counts, new ones too.
const LOCAL: [&str; 45] = [
    "rados_buffer_free",
    "rados_cluster_fsid",
    "rados_conf_get",
    "rados_conf_read_file",
    "rados_conf_set",
    "rados_create2",
    "rados_create_read_op",
    "rados_create_write_op",
    "rados_get_instance_id",
    "rados_getaddrs",
    "rados_ioctx_create",
    "rados_ioctx_destroy",
    "rados_ioctx_get_id",
    "rados_ioctx_set_namespace",
    "rados_omap_get_end",
    "rados_omap_get_next2",
    "rados_read_op_assert_exists",
    "rados_read_op_omap_get_vals2",
    "rados_read_op_omap_get_vals_by_keys",
    "rados_release_read_op",
    "rados_release_write_op",
    "rados_set_osdmap_full_try",
    "rados_set_pool_full_try",
    "rados_write_op_assert_exists",
    "rados_write_op_create",
    "rados_write_op_omap_cmp",
    "rados_write_op_omap_rm_keys",
    "rados_write_op_omap_set",
    "rados_write_op_remove",
    "rbd_get_features",
    "rbd_get_id",
    "rbd_get_name",
    "rbd_get_parent",
    "rbd_get_size",
    "rbd_image_options_create",
    "rbd_image_options_destroy",
    "rbd_image_options_set_uint64",
    "rbd_image_spec_list_cleanup",
    "rbd_snap_get_id",
    "rbd_snap_get_namespace_type",
    "rbd_snap_get_trash_namespace",
    "rbd_snap_list",
    "rbd_snap_list_end",
    "rbd_trash_list_cleanup",
    "rbd_watchers_list_cleanup",
];

type Calls = BTreeMap<&'static str, u64>;

/// What each operation may cost. In the order in which they are done.
const TABLE: [(&str, &[(&str, u64)]); 22] = [
    ("connecting", &[("rados_connect", 1)]),
    (
        "SR.create",
        &[("rados_mon_command", 2), ("rados_write_op_operate", 4)],
    ),
    ("SR.attach", &[("rados_read_op_operate", 2)]),
    (
        "VDI.create",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 1),
            ("rados_stat", 1),
            ("rados_write_op_operate", 2),
            ("rbd_close", 1),
            ("rbd_create4", 1),
            ("rbd_metadata_set", 1),
            ("rbd_open", 1),
        ],
    ),
    (
        "SR.scan of 1 VDI",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 1),
            ("rbd_list2", 1),
            ("rbd_trash_list", 1),
        ],
    ),
    (
        "SR.scan of 20 VDIs",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 1),
            ("rbd_list2", 1),
            ("rbd_trash_list", 1),
        ],
    ),
    (
        "SR.scan, one renamed",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 1),
            ("rados_write_op_operate", 1),
            ("rbd_list2", 1),
            ("rbd_trash_list", 1),
        ],
    ),
    (
        "SR.update",
        &[("rados_mon_command", 2), ("rados_read_op_operate", 2)],
    ),
    ("VDI.update", &[("rados_read_op_operate", 1)]),
    (
        "VDI.update, renamed",
        &[("rados_read_op_operate", 1), ("rados_write_op_operate", 1)],
    ),
    (
        "VDI.introduce",
        &[
            ("rados_read_op_operate", 1),
            ("rbd_close", 1),
            ("rbd_metadata_get", 1),
            ("rbd_open_by_id_read_only", 1),
        ],
    ),
    (
        "VDI.resize",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 1),
            ("rados_write_op_operate", 2),
            ("rbd_close", 1),
            ("rbd_open_by_id", 1),
            ("rbd_resize2", 1),
        ],
    ),
    (
        "VDI.snapshot",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 2),
            ("rados_write_op_operate", 2),
            ("rbd_close", 2),
            ("rbd_metadata_get", 1),
            ("rbd_open_by_id", 1),
            ("rbd_open_by_id_read_only", 1),
            ("rbd_snap_create", 1),
        ],
    ),
    (
        "VDI.clone of a snapshot",
        &[
            ("rados_read_op_operate", 3),
            ("rados_stat", 1),
            ("rados_write_op_operate", 2),
            ("rbd_clone3", 1),
            ("rbd_close", 2),
            ("rbd_metadata_set", 1),
            ("rbd_open", 1),
            ("rbd_open_by_id_read_only", 1),
        ],
    ),
    (
        "VDI.clone of a disk",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 2),
            ("rados_stat", 1),
            ("rados_write_op_operate", 2),
            ("rbd_clone3", 1),
            ("rbd_close", 4),
            ("rbd_metadata_get", 1),
            ("rbd_metadata_set", 1),
            ("rbd_open", 1),
            ("rbd_open_by_id", 1),
            ("rbd_open_by_id_read_only", 2),
            ("rbd_snap_create", 1),
        ],
    ),
    (
        "VDI.revert",
        &[
            ("rados_mgr_command", 1),
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 5),
            ("rados_stat", 1),
            ("rados_write_op_operate", 3),
            ("rbd_clone3", 1),
            ("rbd_close", 3),
            ("rbd_metadata_set", 1),
            ("rbd_open", 1),
            ("rbd_open_by_id_read_only", 2),
            ("rbd_trash_move", 1),
            ("rbd_watchers_list", 1),
        ],
    ),
    (
        "VDI.delete of a parent",
        &[
            ("rados_read_op_operate", 1),
            ("rados_write_op_operate", 2),
            ("rbd_close", 2),
            ("rbd_open_by_id", 1),
            ("rbd_open_by_id_read_only", 1),
            ("rbd_snap_remove_by_id", 1),
            ("rbd_watchers_list", 1),
        ],
    ),
    (
        "VDI.delete of a snapshot",
        &[
            ("rados_read_op_operate", 2),
            ("rados_write_op_operate", 2),
            ("rbd_close", 2),
            ("rbd_open_by_id", 1),
            ("rbd_open_by_id_read_only", 1),
            ("rbd_snap_remove_by_id", 1),
            ("rbd_watchers_list", 1),
        ],
    ),
    (
        "SR.scan with a hidden image",
        &[
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 1),
            ("rbd_close", 2),
            ("rbd_list2", 1),
            ("rbd_metadata_get", 1),
            ("rbd_open_by_id_read_only", 2),
            ("rbd_trash_list", 1),
            ("rbd_watchers_list", 1),
        ],
    ),
    (
        "VDI.delete",
        &[
            ("rados_mgr_command", 1),
            ("rados_mon_command", 2),
            ("rados_read_op_operate", 2),
            ("rados_write_op_operate", 2),
            ("rbd_close", 1),
            ("rbd_open_by_id_read_only", 1),
            ("rbd_trash_move", 1),
            ("rbd_watchers_list", 1),
        ],
    ),
    ("SR.detach", &[]),
    (
        "SR.delete",
        &[
            ("rados_read_op_operate", 4),
            ("rados_write_op_operate", 3),
            ("rbd_list2", 1),
            ("rbd_trash_list", 2),
        ],
    ),
];

/// The calls of every operation so far.
struct Ledger {
    costs: Vec<(&'static str, Calls)>,
}

impl Ledger {
    fn enter<T>(&mut self, operation: &'static str, run: impl FnOnce() -> T) -> T {
        let before = calls::snapshot();
        let result = run();
        let made = calls::snapshot()
            .into_iter()
            .map(|(call, count)| (call, count - before[call]))
            .filter(|(call, count)| *count > 0 && !LOCAL.contains(call));
        self.costs.push((operation, made.collect()));
        result
    }

    /// Where the costs are not those of the table, one line for each call.
    fn differences(&self) -> String {
        let mut text = String::new();
        for ((operation, made), (expected, allowed)) in self.costs.iter().zip(&TABLE) {
            assert_eq!(operation, expected, "the table's order");
            let allowed: Calls = allowed.iter().copied().collect();
            let calls: BTreeSet<_> = made.keys().chain(allowed.keys()).collect();
            for call in calls {
                let cost = |of: &Calls| of.get(call).copied().unwrap_or_default();
                let (now, then) = (cost(made), cost(&allowed));
                if now != then {
                    let times = format!("{now} calls, where the table has {then}");
                    writeln!(text, "{operation}: {call}: {times}").unwrap();
                }
            }
        }
        text
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (operation, calls) in &self.costs {
            let mut line = String::new();
            for (call, count) in calls {
                write!(line, " {count} {call},")?;
            }
            writeln!(f, "{operation}:{}", line.trim_end_matches(','))?;
        }
        Ok(())
    }
}

fn device_config() -> Option<(DeviceConfig, String)> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_) => {
            eprintln!("skipped: {name} is not set");
            None
        }
    };
    let pool = variable("SMBLOCK_TEST_POOL")?;
    let pairs = [
        ("pool", pool.clone()),
        ("ceph_conf", variable("SMBLOCK_TEST_CEPH_CONF")?),
        ("ceph_user", variable("SMBLOCK_TEST_CEPH_USER")?),
    ];
    let config = DeviceConfig::parse(pairs.map(|(key, value)| (key.to_owned(), value)));
    Some((config.unwrap(), pool))
}

fn disk() -> NewDisk {
    NewDisk {
        uuid: Uuid::new_v4(),
        size: i128::from(GIB),
        xapi: XapiFields::default(),
    }
}

fn known(record: &VdiRecord) -> XapiVdi {
    XapiVdi {
        uuid: record.uuid,
        size: record.size,
        fields: record.xapi.clone(),
    }
}

/// Frees what was deleted, with the manager or against it.
fn empty_trash(sr: &Repository<'_>) {
    let end = Instant::now() + DEADLINE;
    while !sr.trashed_images().unwrap().is_empty() {
        assert!(Instant::now() < end, "the trash does not get empty");
        sr.reclaim(|_, _| {}).unwrap();
    }
}

/// A pool whose hosts all live, and in which no disk runs.
struct NoToolstack;

impl Toolstack for NoToolstack {
    fn is_declared_dead(&self, _host: &str) -> Result<bool, String> {
        Ok(false)
    }
    fn pause(&self, vdi: &Uuid) -> Result<(), String> {
        Err(format!("VDI {vdi} does not run"))
    }
    fn unpause(&self, vdi: &Uuid) -> Result<(), String> {
        Err(format!("VDI {vdi} does not run"))
    }
}

#[test]
fn no_operation_makes_a_call_that_is_not_in_the_table() {
    let Some((config, pool)) = device_config() else {
        return;
    };
    let mut ledger = Ledger { costs: Vec::new() };
    let pool = ledger.enter("connecting", || {
        CephPool::open(connect(&config, DEADLINE).unwrap(), &pool).unwrap()
    });
    let host = Uuid::new_v4().to_string();
    let host = Dom0::new(&host, pool.connection(), Box::new(NoToolstack)).unwrap();
    let repository = |sr| Repository::new(&pool, &host, sr, ImageFeatures::DEFAULT);

    // The first SR of a pool makes what all have in common.
    let first = repository(Uuid::new_v4());
    first.create_sr("first", "").unwrap();
    let sr = repository(Uuid::new_v4());
    ledger.enter("SR.create", || sr.create_sr("second", "").unwrap());
    ledger.enter("SR.attach", || sr.attach_sr().unwrap());

    let mut vdis = Vec::new();
    let record = ledger.enter("VDI.create", || sr.create_disk(&disk()).unwrap());
    vdis.push(known(&record));
    ledger.enter("SR.scan of 1 VDI", || sr.scan(&vdis).unwrap());
    vdis.extend((0..19).map(|_| known(&sr.create_disk(&disk()).unwrap())));
    ledger.enter("SR.scan of 20 VDIs", || sr.scan(&vdis).unwrap());
    vdis[7].fields.name_label = "renamed".to_owned();
    ledger.enter("SR.scan, one renamed", || sr.scan(&vdis).unwrap());
    ledger.enter("SR.update", || {
        sr.update_sr("second", "").unwrap();
        sr.usage().unwrap();
        sr.virtual_allocation().unwrap();
    });

    let vdi = record.uuid;
    ledger.enter("VDI.update", || sr.update_vdi(&vdis[0]).unwrap());
    vdis[0].fields.name_label = "renamed".to_owned();
    ledger.enter("VDI.update, renamed", || sr.update_vdi(&vdis[0]).unwrap());
    ledger.enter("VDI.introduce", || sr.introduce_vdi(&vdi).unwrap());
    ledger.enter("VDI.resize", || {
        sr.resize_vdi(&vdi, i128::from(2 * GIB)).unwrap()
    });
    let [snapshot, clone, twin] = [(); 3].map(|()| Uuid::new_v4());
    ledger.enter("VDI.snapshot", || {
        sr.snapshot_vdi(&vdi, &snapshot).unwrap();
    });
    ledger.enter("VDI.clone of a snapshot", || {
        sr.clone_vdi(&snapshot, &clone).unwrap();
    });
    ledger.enter("VDI.clone of a disk", || {
        sr.clone_vdi(&vdi, &twin).unwrap();
    });
    ledger.enter("VDI.revert", || {
        sr.revert_vdi(&clone, &snapshot).unwrap();
    });
    empty_trash(&sr);
    ledger.enter("VDI.delete of a parent", || sr.delete_vdi(&vdi).unwrap());
    ledger.enter("VDI.delete of a snapshot", || {
        sr.delete_vdi(&snapshot).unwrap();
    });
    ledger.enter("SR.scan with a hidden image", || sr.scan(&[]).unwrap());
    ledger.enter("VDI.delete", || sr.delete_vdi(&vdis[1].uuid).unwrap());
    let rest = vdis[2..].iter().map(|vdi| vdi.uuid).chain([clone, twin]);
    rest.for_each(|vdi| sr.delete_vdi(&vdi).unwrap());
    empty_trash(&sr);
    ledger.enter("SR.detach", || sr.detach_sr().unwrap());
    ledger.enter("SR.delete", || sr.delete_sr().unwrap());
    first.delete_sr().unwrap();

    println!("{ledger}");
    assert_eq!(ledger.costs.len(), TABLE.len(), "the table's length");
    let differences = ledger.differences();
    assert!(differences.is_empty(), "\n{differences}");
}
