//! Reclaim frees all space, with or without a manager, and after any crash.

mod crashes;
mod trash;
mod workers;

use nix::libc;
use sr_ceph::chain::SOFT_DEPTH;
use sr_ceph::faults::{at_each_call, Calls, Faults, FaultyPool, Mode, Plan};
use sr_ceph::host::Host;
use sr_ceph::sr::reclaim::{Blocker, Kind, Pending, Report};
use sr_ceph::{Error, Result};
use uuid::Uuid;

use crate::support::{ceph_sr, Lab, A, B, GIB, LEASE_OVER};

fn delete(lab: &Lab, vdi: &Uuid) {
    lab.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
}

/// Runs reclaim as an administrator does. Returns how many images failed.
fn reclaim(lab: &Lab) -> usize {
    lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap()
}

fn pending(lab: &Lab) -> Vec<Pending> {
    lab.run(B, |sr| sr.pending()).unwrap()
}

/// Returns a lab whose cluster has no manager.
fn alone() -> Lab {
    let lab = Lab::new();
    lab.sim.set_manager(false);
    lab
}

/// Makes a snapshot, a clone of it, a snapshot of the clone, and so on. Returns the UUIDs of all.
fn chain(lab: &Lab, length: u32) -> Vec<Uuid> {
    let mut all = vec![lab.create(GIB)];
    for _ in 0..length {
        let snapshot = lab.snapshot(&all[all.len() - 1]);
        all.extend([snapshot, lab.clone_of(&snapshot)]);
    }
    all
}

/// Copies a record of the catalogue to a key, with one field changed.
fn forge(lab: &Lab, from: &str, key: &str, field: &str, value: serde_json::Value) {
    let catalogue = lab.sim.object(&lab.catalogue()).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&catalogue[from]).unwrap();
    record[field] = value;
    let text = record.to_string();
    lab.sim.put(&lab.catalogue(), key, text.as_bytes());
}

fn is_empty(lab: &Lab) -> bool {
    let pool = lab.sim.snapshot();
    let left = lab.keys("hidden.").len() + lab.keys("worker").len() + lab.keys("op.").len();
    pool.sizes.is_empty() && left == 0
}

#[test]
fn one_reclaim_frees_a_deleted_family_without_a_manager() {
    let lab = alone();
    for vdi in chain(&lab, 5) {
        delete(&lab, &vdi);
    }
    assert_eq!(reclaim(&lab), 0);
    assert!(is_empty(&lab), "{:?}", lab.sim.snapshot());
    lab.run(A, |sr| sr.delete_sr()).unwrap();
}

#[test]
fn the_data_of_a_deleted_disk_is_freed_and_its_copies_keep_their_content() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let device = lab.activate(A, &disk).unwrap().device;
    lab.sim.write(A, &device, 7).unwrap();
    lab.deactivate(A, &disk).unwrap();
    let image = lab.image_id(&disk);
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&snapshot);
    let gone = lab.snapshot(&disk);
    let clone_of_gone = lab.clone_of(&gone);
    delete(&lab, &gone);
    delete(&lab, &disk);

    let kind = Kind::Hidden {
        size: GIB,
        snapshots: 2,
    };
    assert_eq!(pending(&lab)[0].kind, kind);
    assert_eq!(pending(&lab)[0].waits_for, None);
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.sim.snapshot().sizes[&image], 0);
    assert_eq!(lab.sim.snapshot().images.len(), 3);
    for kept in [snapshot, clone, clone_of_gone] {
        assert_eq!(lab.content(&kept), Some(7));
        assert_eq!(lab.record(&kept).unwrap().size, GIB);
    }
    // The reason why it waits is reported, and no worker is started for it.
    let waits = Blocker::Snapshots {
        vdis: 1,
        tracking: 0,
        by_clones: 1,
        foreign: Vec::new(),
        path: format!("rbd/{}", lab.image_name(&snapshot)),
    };
    assert_eq!(pending(&lab)[0].waits_for, Some(waits));
    assert!(!lab
        .run(A, |sr| sr.scan(&[]).map(|_| sr.needs_worker()))
        .unwrap());

    for vdi in [snapshot, clone, clone_of_gone] {
        delete(&lab, &vdi);
    }
    assert_eq!(reclaim(&lab), 0);
    assert!(is_empty(&lab));
}

/// Returns whether a command requests a worker.
fn asks<T>(lab: &Lab, act: impl Fn(&sr_ceph::CephSr<'_>) -> Result<T>) -> bool {
    lab.run(A, |sr| {
        act(&sr).unwrap();
        sr.needs_worker()
    })
}

#[test]
fn a_worker_is_requested_only_if_the_manager_cannot_free_everything() {
    let lab = Lab::new();
    let [plain, parent, in_full_pool, alone] = [0; 4].map(|_| lab.create(GIB));
    let snapshot = lab.snapshot(&parent);
    assert!(
        !asks(&lab, |sr| sr.delete_vdi(&plain)),
        "the manager took it"
    );
    assert!(
        asks(&lab, |sr| sr.delete_vdi(&parent)),
        "it has data of its own"
    );
    assert!(asks(&lab, |sr| sr.scan(&[])), "its data is still there");
    reclaim(&lab);
    assert!(!asks(&lab, |sr| sr.scan(&[])), "only its snapshot keeps it");
    assert!(!asks(&lab, |sr| sr.delete_vdi(&snapshot)));

    lab.sim.set_full(true);
    assert!(asks(&lab, |sr| sr.delete_vdi(&in_full_pool)));
    lab.sim.set_full(false);
    lab.sim.set_manager(false);
    assert!(asks(&lab, |sr| sr.delete_vdi(&alone)));
    assert!(asks(&lab, |sr| sr.scan(&[])));
    lab.sim.set_manager(true);
    assert!(!asks(&lab, |sr| sr.scan(&[])), "the manager is back");
}

#[test]
fn a_revert_leaves_the_old_content_to_a_worker() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    assert!(asks(&lab, |sr| sr.revert_vdi(&disk, &snapshot)));
}

#[test]
fn a_manager_that_does_not_reply_is_asked_once() {
    let lab = alone();
    let disks: Vec<_> = (0..100).map(|_| lab.create(GIB)).collect();
    disks.iter().for_each(|disk| delete(&lab, disk));
    let process = lab.process(A);
    let faults = Faults::none();
    let pool = FaultyPool::new(&process.pool, &faults);
    let scan = ceph_sr(&pool, &process.host, lab.sr).scan(&[]);
    assert_eq!(scan.unwrap().warnings, [""; 0]);
    assert_eq!(faults.changes(), 1, "each request waits for an answer");
}

#[test]
fn an_sr_is_deleted_if_its_images_waited_only_for_each_other() {
    let lab = Lab::new();
    for vdi in chain(&lab, 1) {
        delete(&lab, &vdi);
    }
    lab.sim.run_manager(); // frees the clone, and then the parent's snapshot
    let refused = lab.run(A, |sr| sr.delete_sr());
    let freeing = matches!(
        refused,
        Err(Error::SrNotEmpty {
            images: 0,
            trashed: 1,
            ..
        })
    );
    assert!(freeing, "{refused:?}");
    lab.sim.run_manager();
    lab.run(A, |sr| sr.delete_sr()).unwrap();
}

#[test]
fn an_open_image_is_skipped_and_the_other_ones_are_freed() {
    let lab = alone();
    let (watched, free) = (lab.create(GIB), lab.create(GIB));
    let image = lab.image_id(&watched);
    delete(&lab, &watched);
    lab.sim.open_with_librbd(&image);
    delete(&lab, &free);
    let mut failures = Vec::new();
    let left = lab.run(A, |sr| {
        sr.reclaim(|pending, report| {
            if let Report::Failed(e) = report {
                failures.push((pending.image.id.clone(), e.errno()));
            }
        })
    });
    assert_eq!(left.unwrap(), 1);
    assert_eq!(failures, [(image.clone(), Some(libc::EBUSY))]);
    let left: Vec<_> = lab.sim.snapshot().sizes.into_keys().collect();
    assert_eq!(left, [image]);
}

#[test]
fn a_long_chain_is_flattened_while_its_disk_is_idle_and_has_no_snapshots() {
    let lab = alone();
    let all = chain(&lab, SOFT_DEPTH + 1);
    let disk = all[all.len() - 1];
    let snapshot = lab.snapshot(&disk);
    lab.activate(B, &disk).unwrap();
    let in_use = Blocker::InUse { host: B.to_owned() };
    assert_eq!(pending(&lab)[0].waits_for, Some(in_use));
    assert!(!asks(&lab, |sr| sr.scan(&[])), "a running VM is left alone");
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.record(&disk).unwrap().depth, SOFT_DEPTH + 1);

    // After a flatten, the removal of a snapshot with clones would detach its image from the parents.
    lab.deactivate(B, &disk).unwrap();
    let snapshots = Blocker::OwnSnapshots { count: 1 };
    assert_eq!(pending(&lab)[0].waits_for, Some(snapshots));
    assert!(!asks(&lab, |sr| sr.scan(&[])));
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.record(&disk).unwrap().depth, SOFT_DEPTH + 1);

    delete(&lab, &snapshot);
    assert!(asks(&lab, |sr| sr.scan(&[])));
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.record(&disk).unwrap().depth, 0);
    assert_eq!(pending(&lab), []);
    for parent in &all[..all.len() - 1] {
        delete(&lab, parent);
    }
    reclaim(&lab);
    assert_eq!(lab.keys("hidden."), [""; 0]);
    assert_eq!(lab.sim.snapshot().sizes.len(), 1);
}

#[test]
fn a_disk_that_gets_a_snapshot_while_another_one_is_flattened_waits() {
    let lab = alone();
    let mut disks: Vec<_> = (0..2)
        .filter_map(|_| chain(&lab, SOFT_DEPTH + 1).pop())
        .collect();
    lab.run(A, |sr| {
        sr.reclaim(|pending, report| {
            if let (Kind::LongChain { vdi, .. }, Report::Done) = (&pending.kind, report) {
                disks.retain(|disk| disk != vdi);
                disks.first().map(|other| lab.snapshot(other));
            }
        })
    })
    .unwrap();
    assert_eq!(lab.record(&disks[0]).unwrap().depth, SOFT_DEPTH + 1);
}

#[test]
fn a_manager_flattens_what_a_scan_finds_and_the_next_scan_notes_it() {
    let lab = Lab::new();
    let all = chain(&lab, SOFT_DEPTH + 1);
    let disk = all[all.len() - 1];
    assert!(!asks(&lab, |sr| sr.scan(&[])));
    lab.sim.run_manager();
    assert_eq!(lab.record(&disk).unwrap().depth, SOFT_DEPTH + 1);
    lab.scan(A).unwrap();
    assert_eq!(lab.record(&disk).unwrap().depth, 0);
    assert_eq!(lab.sim.snapshot().to_flatten.len(), 0);
}

#[test]
fn no_disk_is_flattened_into_a_full_pool() {
    let lab = alone();
    let all = chain(&lab, SOFT_DEPTH + 1);
    lab.sim.set_full(true);
    assert_eq!(reclaim(&lab), 1);
    assert_eq!(pending(&lab).len(), 1);
    lab.sim.set_full(false);
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.record(&all[all.len() - 1]).unwrap().depth, 0);
}

#[test]
fn an_image_that_a_disk_uses_is_not_emptied_if_the_catalogue_is_wrong() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let (name, id) = (lab.image_name(&disk), lab.image_id(&disk));
    lab.snapshot(&disk);
    let other = lab.create(GIB);
    lab.snapshot(&other);
    delete(&lab, &other);
    let hidden = lab.keys("hidden.").remove(0);
    let image = serde_json::json!({"name": name, "id": id});
    forge(&lab, &hidden, &format!("hidden.{id}"), "image", image);
    assert_eq!(reclaim(&lab), 1);
    assert_eq!(lab.sim.snapshot().sizes[&id], GIB);
}

#[test]
fn a_clone_whose_head_was_emptied_leaves_no_objects_when_it_is_purged() {
    for has_manager in [true, false] {
        let lab = Lab::new();
        lab.sim.set_manager(has_manager);
        let [disk, snapshot, clone] = chain(&lab, 1)[..] else {
            unreachable!("a disk, its snapshot and a clone")
        };
        let of_clone = lab.snapshot(&clone);
        delete(&lab, &clone);
        assert_eq!(reclaim(&lab), 0);
        // No free space to restore its size: its snapshot can still be deleted.
        lab.sim.set_full(true);
        delete(&lab, &of_clone);
        lab.scan(A).unwrap();
        assert_eq!(lab.keys("hidden.").len(), 1);
        lab.sim.set_full(false);
        for vdi in [snapshot, disk] {
            delete(&lab, &vdi);
        }
        lab.settle();
        reclaim(&lab);
        assert_eq!(lab.sim.leaks(), [""; 0]);
        assert!(is_empty(&lab), "{:?}", lab.sim.snapshot());
    }
}

#[test]
fn no_hidden_image_is_emptied_while_a_record_cannot_be_read() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let image = lab.image_id(&disk);
    lab.snapshot(&disk);
    delete(&lab, &disk);
    let key = format!("vdi.{}", Uuid::new_v4());
    lab.sim.put(&lab.catalogue(), &key, b"{");
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.sim.snapshot().sizes[&image], GIB);
    let waits_for = pending(&lab).remove(0).waits_for.unwrap();
    assert!(
        matches!(waits_for, Blocker::Unreadable { .. }),
        "{waits_for}"
    );
}
