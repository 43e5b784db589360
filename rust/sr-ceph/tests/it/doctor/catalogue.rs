//! Faults of the catalogue's keys and values, and unfinished operations.

use sr::finding::table;
use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
use sr_ceph::host::{Host, Owner};
use sr_ceph::{CephSr, Result};

use super::{among, look, nothing, only};
use crate::support::{ceph_sr, Lab, A, B, GIB};

#[test]
fn an_sr_with_disks_snapshots_and_clones_has_no_finding() {
    let (lab, disk) = Lab::with_disk();
    nothing(&lab);
    let snapshot = lab.snapshot(&disk);
    lab.clone_of(&snapshot);
    let used = lab.create(GIB);
    lab.activate(A, &used).unwrap();
    lab.activate(B, &disk).unwrap();
    nothing(&lab);
}

#[test]
fn a_tracked_disk_that_was_reverted_has_no_finding() {
    let (lab, disk) = Lab::with_disk();
    lab.run(A, |sr| sr.track_changes(&disk, true)).unwrap();
    let snapshot = lab.snapshot(&disk);
    lab.write(&disk, 2);
    lab.snapshot(&disk);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    lab.run(A, |sr| sr.destroy_data(&snapshot)).unwrap();
    lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap();
    assert_eq!(lab.lineages().len(), 1);
    nothing(&lab);
}

#[test]
fn a_damaged_record_is_found() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.put(&lab.catalogue(), &format!("vdi.{disk}"), b"{}");
    let found = only(&lab, &table::UNREADABLE);
    assert!(found.object.ends_with(&format!("vdi.{disk}")), "{found:?}");
    assert!(found.fix.contains("rmomapkey"), "{found:?}");
}

#[test]
fn a_record_of_a_newer_version_is_found() {
    let (lab, disk) = Lab::with_disk();
    let key = format!("op.{disk}");
    lab.sim.put(&lab.catalogue(), &key, b"{\"version\": 99}");
    only(&lab, &table::NEWER);
}

#[test]
fn an_unknown_key_is_found() {
    let (lab, _) = Lab::with_disk();
    lab.sim.put(&lab.catalogue(), "colour", b"blue");
    let found = only(&lab, &table::UNKNOWN_KEY);
    assert_eq!(found.object, "key colour");
}

#[test]
fn an_sr_that_is_being_deleted_is_found() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.sim.rename_image(&lab.image_name(&disk), "foreign");
    let key = "sr";
    let value = lab.sim.object(&lab.catalogue()).unwrap()[key].clone();
    let value = String::from_utf8(value).unwrap();
    let value = value.replacen('{', "{\"deleting\":true,", 1);
    lab.sim.put(&lab.catalogue(), key, value.as_bytes());
    among(&lab, &table::DELETING);
}

#[test]
fn an_sr_that_the_directory_lacks_is_found() {
    let (lab, _) = Lab::with_disk();
    lab.sim.remove_object(sr_ceph::catalogue::DIRECTORY);
    let found = only(&lab, &table::NOT_IN_DIRECTORY);
    assert!(found.fix.contains(&format!("sr.{}", lab.sr)), "{found:?}");
}

/// A process on host A that stops at its nth change.
fn stop(lab: &Lab, nth: usize, act: &dyn Fn(&CephSr<'_>) -> Result<()>) -> Owner {
    let process = lab.process(A);
    let plan = Plan {
        calls: Calls::Changes,
        nth,
        mode: Mode::KilledBefore,
    };
    let faults = Faults::plan(plan);
    let pool = FaultyPool::new(&process.pool, &faults);
    let host = FaultyHost::new(&process.host, &faults);
    act(&ceph_sr(&pool, &host, lab.sr)).unwrap_err();
    assert!(faults.killed());
    process.host.owner().clone()
}

/// A disk that a process on host A has begun to resize. That process is gone.
fn half_resized() -> Lab {
    let (lab, disk) = Lab::with_disk();
    let grow = |sr: &CephSr<'_>| sr.resize_vdi(&disk, i128::from(2 * GIB)).map(drop);
    let owner = stop(&lab, 2, &grow);
    nothing(&lab); // it may still run
    lab.sim.kill(&owner);
    lab
}

#[test]
fn an_operation_of_a_dead_process_is_found_and_repaired() {
    let lab = half_resized();
    let found = only(&lab, &table::LEFT_OVER);
    assert!(found.found.contains("resize"), "{found:?}");
    assert!(found.since.is_some());
    lab.run(A, |sr| sr.repair()).unwrap();
    nothing(&lab);
}

#[test]
fn an_operation_of_another_host_is_found_only_after_long() {
    let lab = half_resized();
    assert_eq!(look(&lab, B), []);
    lab.sim.advance_seconds(3600);
    let found = look(&lab, B);
    assert_eq!(found[0].kind, &table::STUCK, "{found:#?}");
    lab.sim.declare_dead(A, true);
    let found = look(&lab, B);
    assert_eq!(found[0].kind, &table::LEFT_OVER, "{found:#?}");
}
