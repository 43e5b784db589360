//! What each operation costs in calls of librados and librbd, on a real cluster: exactly as many as the
//! table has. An operation that gets cheaper fails too, so that the table stays true.
//!
//! The host is simulated: what its kernel asks the cluster is not counted. The counters are those of the
//! whole process, so this test runs while no other one uses the cluster.

mod local;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use librbd::calls;
use sr::engine::Together;
use sr::xapi::{XapiFields, XapiVdi};
use sr_ceph::ceph::{connect, CephPool};
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::record::VdiRecord;
use sr_ceph::vdi::create::NewDisk;
use sr_ceph::CephSr;
use uuid::Uuid;

use super::hosts::Hosts;
use super::pool::{device_config, exclusive};
use local::LOCAL;
use table::TABLE;

const DEADLINE: Duration = Duration::from_secs(30);
const GIB: u64 = 1 << 30;

type Calls = BTreeMap<&'static str, u64>;

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

    /// Returns the differences from the table, one line for each call.
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

/// Prints rows of the table.
impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (operation, calls) in &self.costs {
            let calls: Vec<_> = calls.iter().collect();
            writeln!(f, "({operation:?}, &{calls:?}),")?;
        }
        Ok(())
    }
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
        utilisation: 0,
        fields: record.xapi.clone(),
    }
}

/// Frees the data of hidden images, as a reclaim worker does.
fn empty_heads(sr: &CephSr<'_>) {
    sr.reclaim(|_, _| {}).unwrap();
}

/// Frees what was deleted, also while the manager frees the same.
fn empty_trash(sr: &CephSr<'_>) {
    let end = Instant::now() + DEADLINE;
    loop {
        while !sr.trashed_images().unwrap().is_empty() {
            assert!(Instant::now() < end, "the trash does not get empty");
            sr.reclaim(|_, _| {}).unwrap();
        }
        // Removes the marks of images that the manager has freed, and moves unused images to the trash.
        sr.scan(&[]).unwrap();
        if sr.trashed_images().unwrap().is_empty() {
            return;
        }
    }
}

/// Changed-block tracking of a disk of its own.
fn count_tracking(ledger: &mut Ledger, sr: &CephSr<'_>) {
    let vdi = sr.create_disk(&disk()).unwrap().uuid;
    let [older, newer] = [(); 2].map(|()| Uuid::new_v4());
    ledger.enter("VDI.enable_cbt", || sr.track_changes(&vdi, true).unwrap());
    sr.snapshot_vdi(&vdi, &older).unwrap();
    sr.snapshot_vdi(&vdi, &newer).unwrap();
    ledger.enter("VDI.list_changed_blocks", || {
        sr.changed_blocks(&older, &newer).unwrap()
    });
    ledger.enter("VDI.revert to a tracked snapshot", || {
        sr.revert_vdi(&vdi, &older).unwrap();
    });
    ledger.enter("VDI.data_destroy", || sr.destroy_data(&older).unwrap());
    for vdi in [&vdi, &older, &newer] {
        sr.delete_vdi(vdi).unwrap();
    }
}

/// The counters are those of the process, and an abandoned call of another test may still run in it.
#[test]
fn each_operation_makes_exactly_the_calls_of_the_table() {
    if device_config().is_none() {
        return;
    }
    let _cluster = exclusive();
    let alone = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "round_trips::counted",
            "--ignored",
            "--nocapture",
        ])
        .status()
        .unwrap();
    assert!(alone.success(), "the counted process failed: {alone}");
}

#[test]
#[ignore = "is the process that the other test starts"]
fn counted() {
    let Some((config, pool)) = device_config() else {
        return;
    };
    let mut ledger = Ledger { costs: Vec::new() };
    let pool = ledger.enter("connecting", || {
        CephPool::open(connect(&config, DEADLINE).unwrap(), &pool).unwrap()
    });
    let host = Hosts::default().start("host");
    let ceph_sr = |sr| CephSr::new(&pool, &host, sr, ImageFeatures::DEFAULT);

    // The first SR of a pool creates the objects that all SRs share.
    let first = ceph_sr(Uuid::new_v4());
    first.create_sr("first", "").unwrap();
    let sr = ceph_sr(Uuid::new_v4());
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
    let [snapshot, clone, twin, third, same, running] = [(); 6].map(|()| Uuid::new_v4());
    ledger.enter("VDI.snapshot", || {
        sr.snapshot_vdi(&vdi, &snapshot).unwrap();
    });
    ledger.enter("VDI.snapshot of a snapshot", || {
        sr.snapshot_vdi(&snapshot, &same).unwrap();
    });
    ledger.enter("VDI.clone of a snapshot", || {
        sr.clone_lasting_vdi(&snapshot, &clone).unwrap();
    });
    ledger.enter("VDI.clone of a disk", || {
        sr.clone_lasting_vdi(&vdi, &twin).unwrap();
    });
    ledger.enter("VDI.clone of a disk, the next one", || {
        sr.clone_lasting_vdi(&vdi, &third).unwrap();
    });
    ledger.enter("VDI.activate", || sr.activate_vdi(&vdi, true).unwrap());
    ledger.enter("VDI.activate, for reading", || {
        sr.activate_vdi(&snapshot, false).unwrap()
    });
    ledger.enter("VDI.snapshot of a running disk", || {
        sr.snapshot_vdi(&vdi, &running).unwrap();
    });
    let sibling = vdis[1].uuid;
    sr.activate_vdi(&sibling, true).unwrap();
    let with = |sibling| Together {
        task: "OpaqueRef:task".to_owned(),
        siblings: vec![sibling],
    };
    let first_of_two = ledger.enter("VDI.snapshot of a VM's 2 disks, the first", || {
        let new = Uuid::new_v4();
        sr.snapshot_vdi_with(&vdi, &new, &with(sibling)).unwrap()
    });
    let second_of_two = ledger.enter("VDI.snapshot of a VM's 2 disks, the second", || {
        let new = Uuid::new_v4();
        sr.snapshot_vdi_with(&sibling, &new, &with(vdi)).unwrap()
    });
    sr.deactivate_vdi(&sibling).unwrap();
    for taken in [first_of_two, second_of_two] {
        sr.delete_vdi(&taken.uuid).unwrap();
    }
    ledger.enter("VDI.deactivate", || sr.deactivate_vdi(&vdi).unwrap());
    sr.deactivate_vdi(&snapshot).unwrap();
    sr.delete_vdi(&running).unwrap();
    ledger.enter("SR.scan with a base that is stale", || {
        sr.scan(&[]).unwrap()
    });
    ledger.enter("VDI.revert", || {
        sr.revert_vdi(&clone, &snapshot).unwrap();
    });
    empty_trash(&sr);
    ledger.enter("VDI.epoch_begin", || sr.forget_reset_point(&twin).unwrap());
    ledger.enter("VDI.epoch_begin, reset, the first", || {
        sr.reset_vdi(&twin).unwrap()
    });
    ledger.enter("VDI.epoch_begin, reset, the next", || {
        sr.reset_vdi(&twin).unwrap()
    });
    ledger.enter("VDI.epoch_begin, reset no more", || {
        sr.forget_reset_point(&twin).unwrap()
    });
    count_tracking(&mut ledger, &sr);
    empty_trash(&sr);
    ledger.enter("VDI.delete of a parent", || sr.delete_vdi(&vdi).unwrap());
    sr.delete_vdi(&same).unwrap();
    ledger.enter("VDI.delete of a snapshot", || {
        sr.delete_vdi(&snapshot).unwrap();
    });
    empty_heads(&sr);
    ledger.enter("SR.scan with 2 hidden images", || sr.scan(&[]).unwrap());
    ledger.enter("VDI.delete", || sr.delete_vdi(&vdis[1].uuid).unwrap());
    let rest = vdis[2..].iter().map(|vdi| vdi.uuid);
    rest.chain([clone, twin, third])
        .for_each(|vdi| sr.delete_vdi(&vdi).unwrap());
    empty_trash(&sr);
    ledger.enter("SR.detach", || sr.detach_sr().unwrap());
    ledger.enter("SR.delete", || sr.delete_sr().unwrap());
    first.delete_sr().unwrap();

    println!("{ledger}");
    assert_eq!(ledger.costs.len(), TABLE.len(), "the table's length");
    let differences = ledger.differences();
    assert!(differences.is_empty(), "\n{differences}");
}
