//! Giving space back: all of it, by whoever is there to do it, whatever it dies in.
#![allow(clippy::unwrap_used)]

mod support;

use nix::libc;
use store::faults::{Calls, Faults, FaultyCluster, Mode, Plan};
use store::host::Host;
use store::sr::reclaim::{HoldUp, Kind, Pending, Report, SOFT_DEPTH};
use store::{Error, Result};
use uuid::Uuid;

use support::{repository, Lab, A, B, GIB, LEASE_OVER};

fn delete(lab: &Lab, vdi: &Uuid) {
    lab.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
}

/// As an administrator does it by hand: how much could not be done.
fn reclaim(lab: &Lab) -> usize {
    lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap()
}

fn pending(lab: &Lab) -> Vec<Pending> {
    lab.run(B, |sr| sr.pending()).unwrap()
}

/// A lab whose cluster has no manager.
fn alone() -> Lab {
    let lab = Lab::new();
    lab.world.set_manager(false);
    lab
}

/// Snapshot, clone of that, snapshot of the clone, and so on: all the disks' and snapshots' UUIDs.
fn chain(lab: &Lab, length: u32) -> Vec<Uuid> {
    let mut all = vec![lab.create(GIB)];
    for _ in 0..length {
        let snapshot = lab.snapshot(&all[all.len() - 1]);
        all.extend([snapshot, lab.clone_of(&snapshot)]);
    }
    all
}

/// Writes a record of the catalogue under a key, with one of its fields changed.
fn forge(lab: &Lab, from: &str, key: &str, field: &str, value: serde_json::Value) {
    let catalogue = lab.world.object(&lab.catalogue()).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&catalogue[from]).unwrap();
    record[field] = value;
    let text = record.to_string();
    lab.world.put(&lab.catalogue(), key, text.as_bytes());
}

fn is_empty(lab: &Lab) -> bool {
    let pool = lab.world.snapshot();
    let left = lab.keys("hidden.").len() + lab.keys("worker").len() + lab.keys("op.").len();
    pool.sizes.is_empty() && left == 0
}

#[test]
fn without_a_manager_all_levels_of_a_deleted_family_are_freed_in_one_go() {
    let lab = alone();
    for vdi in chain(&lab, 5) {
        delete(&lab, &vdi);
    }
    assert_eq!(reclaim(&lab), 0);
    assert!(is_empty(&lab), "{:?}", lab.world.snapshot());
    lab.run(A, |sr| sr.delete_sr()).unwrap();
}

#[test]
fn the_data_of_a_deleted_disk_is_freed_while_its_snapshot_and_their_clones_stay_what_they_are() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let device = lab.activate(A, &disk).unwrap().device;
    lab.world.write(A, &device, 7).unwrap();
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
    assert_eq!(pending(&lab)[0].holds_up, None);
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.world.snapshot().sizes[&image], 0);
    assert_eq!(lab.world.snapshot().images.len(), 3);
    for kept in [snapshot, clone, clone_of_gone] {
        assert_eq!(lab.content(&kept), Some(7));
        assert_eq!(lab.record(&kept).unwrap().size, GIB);
    }
    // What it waits for is told, and no worker is started for that.
    let waits = HoldUp::Snapshots {
        vdis: 1,
        by_clones: 1,
        foreign: 0,
    };
    assert_eq!(pending(&lab)[0].holds_up, Some(waits));
    assert!(!lab
        .run(A, |sr| sr.scan(&[]).map(|_| sr.needs_worker()))
        .unwrap());

    for vdi in [snapshot, clone, clone_of_gone] {
        delete(&lab, &vdi);
    }
    assert_eq!(reclaim(&lab), 0);
    assert!(is_empty(&lab));
}

/// Whether whoever does that asks for a worker.
fn asks<T>(lab: &Lab, act: impl Fn(&store::Repository<'_>) -> Result<T>) -> bool {
    lab.run(A, |sr| {
        act(&sr).unwrap();
        sr.needs_worker()
    })
}

#[test]
fn a_worker_is_asked_for_where_the_manager_does_not_do_it_all_and_only_there() {
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

    lab.world.set_full(true);
    assert!(asks(&lab, |sr| sr.delete_vdi(&in_full_pool)));
    lab.world.set_full(false);
    lab.world.set_manager(false);
    assert!(asks(&lab, |sr| sr.delete_vdi(&alone)));
    assert!(asks(&lab, |sr| sr.scan(&[])));
    lab.world.set_manager(true);
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
fn a_manager_that_does_not_answer_is_asked_once_however_much_there_is_to_free() {
    let lab = alone();
    let disks: Vec<_> = (0..100).map(|_| lab.create(GIB)).collect();
    disks.iter().for_each(|disk| delete(&lab, disk));
    let process = lab.process(A);
    let faults = Faults::none();
    let cluster = FaultyCluster::new(&process.cluster, &faults);
    let scan = repository(&cluster, &process.host, lab.sr).scan(&[]);
    assert_eq!(scan.unwrap().warnings, [""; 0]);
    assert_eq!(faults.changes(), 1, "each request waits for an answer");
}

#[test]
fn images_that_only_waited_for_each_other_do_not_keep_an_sr_from_being_deleted() {
    let lab = Lab::new();
    for vdi in chain(&lab, 1) {
        delete(&lab, &vdi);
    }
    lab.world.run_manager(); // which frees the clone, and with it the parent's snapshot
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
    lab.world.run_manager();
    lab.run(A, |sr| sr.delete_sr()).unwrap();
}

#[test]
fn what_somebody_has_open_is_passed_over_and_the_rest_is_freed() {
    let lab = alone();
    let (watched, free) = (lab.create(GIB), lab.create(GIB));
    let image = lab.image_id(&watched);
    delete(&lab, &watched);
    lab.world.open_with_librbd(&image);
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
    let left: Vec<_> = lab.world.snapshot().sizes.into_keys().collect();
    assert_eq!(left, [image]);
}

#[test]
fn a_disk_with_a_long_chain_of_parents_is_flattened_while_it_is_not_in_use() {
    let lab = alone();
    let all = chain(&lab, SOFT_DEPTH + 1);
    let disk = all[all.len() - 1];
    let snapshot = lab.snapshot(&disk);
    lab.activate(B, &disk).unwrap();
    let in_use = HoldUp::InUse { host: B.to_owned() };
    assert_eq!(pending(&lab)[0].holds_up, Some(in_use));
    assert!(!asks(&lab, |sr| sr.scan(&[])), "a running VM is left alone");
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.record(&disk).unwrap().depth, SOFT_DEPTH + 1);

    lab.deactivate(B, &disk).unwrap();
    assert!(asks(&lab, |sr| sr.scan(&[])));
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.record(&disk).unwrap().depth, 0);
    assert_eq!(pending(&lab), []);

    // Its snapshot keeps the parents: they go with it, and not before.
    for parent in &all[..all.len() - 1] {
        delete(&lab, parent);
    }
    reclaim(&lab);
    assert_eq!(lab.keys("hidden.").len(), all.len() / 2);
    delete(&lab, &snapshot);
    reclaim(&lab);
    assert_eq!(lab.keys("hidden."), [""; 0]);
    assert_eq!(lab.world.snapshot().sizes.len(), 1);
}

#[test]
fn a_manager_flattens_what_a_scan_finds_and_the_next_scan_notes_it() {
    let lab = Lab::new();
    let all = chain(&lab, SOFT_DEPTH + 1);
    let disk = all[all.len() - 1];
    assert!(!asks(&lab, |sr| sr.scan(&[])));
    lab.world.run_manager();
    assert_eq!(lab.record(&disk).unwrap().depth, SOFT_DEPTH + 1);
    lab.scan(A).unwrap();
    assert_eq!(lab.record(&disk).unwrap().depth, 0);
    assert_eq!(lab.world.snapshot().to_flatten.len(), 0);
}

#[test]
fn no_disk_is_flattened_into_a_full_pool() {
    let lab = alone();
    let all = chain(&lab, SOFT_DEPTH + 1);
    lab.world.set_full(true);
    assert_eq!(reclaim(&lab), 1);
    assert_eq!(pending(&lab).len(), 1);
    lab.world.set_full(false);
    assert_eq!(reclaim(&lab), 0);
    assert_eq!(lab.record(&all[all.len() - 1]).unwrap().depth, 0);
}

#[test]
fn an_image_that_a_disk_uses_is_not_emptied_whatever_the_catalogue_says() {
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
    assert_eq!(lab.world.snapshot().sizes[&id], GIB);
}

// One at a time

#[test]
fn a_second_worker_stops_at_once_and_says_who_is_at_it() {
    let lab = alone();
    let disk = lab.create(GIB);
    delete(&lab, &disk);
    let mut told = None;
    let owner = lab.run(A, |sr| {
        sr.reclaim(|_, report| {
            if matches!(report, Report::Progress(..)) {
                return;
            }
            // While one is at work, also after longer than a lease.
            told = Some(lab.run(B, |other| {
                assert!(!asks(&lab, |sr| sr.scan(&[])), "it is at work already");
                other.reclaim(|_, _| panic!("two work at once"))
            }));
        })
        .map(|_| A)
    });
    assert_eq!(owner.unwrap(), A);
    match told.unwrap() {
        Err(Error::WorkerRuns { host, .. }) => assert_eq!(host, A),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_works_for_hours_stays_the_only_one() {
    let lab = alone();
    for disk in [0; 4].map(|_| lab.create(GIB)) {
        delete(&lab, &disk);
    }
    let process = lab.process(A);
    let faults = Faults::none();
    let cluster = FaultyCluster::new(&process.cluster, &faults);
    let mut asked = 0;
    let left = repository(&cluster, &process.host, lab.sr).reclaim(|_, report| {
        if matches!(report, Report::Progress(..)) {
            lab.world.advance_seconds(LEASE_OVER * 2 / 3);
            return;
        }
        let second = lab.run(B, |sr| sr.reclaim(|_, _| {}));
        assert!(
            matches!(second, Err(Error::WorkerRuns { .. })),
            "{second:?}"
        );
        asked += 1;
    });
    assert_eq!((left.unwrap(), asked), (0, 4));
}

#[test]
fn a_dead_workers_work_is_taken_over_here_at_once_and_elsewhere_after_its_lease() {
    for (host, seconds) in [(A, 0), (B, LEASE_OVER)] {
        let lab = alone();
        for disk in chain(&lab, 1) {
            delete(&lab, &disk);
        }
        let process = lab.process(A);
        let faults = Faults::plan(Plan {
            calls: Calls::Changes,
            nth: 2,
            mode: Mode::KilledBefore,
        });
        let cluster = FaultyCluster::new(&process.cluster, &faults);
        let died = repository(&cluster, &process.host, lab.sr).reclaim(|_, _| {});
        assert!(died.is_err() && faults.killed());
        lab.world.kill(process.host.owner());
        if seconds > 0 {
            let early = lab.run(host, |sr| sr.reclaim(|_, _| {}));
            assert!(matches!(early, Err(Error::WorkerRuns { .. })), "{early:?}");
            lab.world.advance_seconds(seconds);
        }
        assert_eq!(lab.run(host, |sr| sr.reclaim(|_, _| {})).unwrap(), 0);
        assert!(is_empty(&lab), "{:?}", lab.world.snapshot());
        assert_eq!(lab.world.snapshot().blocklist.len(), 1, "what it had open");
    }
}

// Crashes

/// A deleted family of which a snapshot and a clone are left, a plain deleted disk, and a disk with
/// a long chain of parents, which are deleted.
fn full_of_work() -> (Lab, [Uuid; 3]) {
    let lab = alone();
    let plain = lab.create(GIB);
    let family = chain(&lab, 1);
    let kept = lab.snapshot(&family[0]);
    let clone = lab.clone_of(&family[1]);
    let [parent, snapshot, deep] = chain(&lab, 1)[..] else {
        unreachable!("a disk, its snapshot and a clone")
    };
    let key = format!("vdi.{deep}"); // as long as it takes, in less time
    forge(&lab, &key, &key, "depth", (SOFT_DEPTH + 1).into());
    for vdi in family.iter().chain([&parent, &snapshot, &plain]) {
        delete(&lab, vdi);
    }
    (lab, [kept, clone, deep])
}

fn check_done(lab: &Lab, kept: &[Uuid; 3]) {
    let open = pending(lab);
    assert!(open.iter().all(|p| p.holds_up.is_some()), "{open:?}");
    // The two disks, and the one image that they and the snapshot need.
    let pool = lab.world.snapshot();
    assert_eq!(pool.sizes.len(), 3, "{:?}", pool.images);
    assert_eq!(lab.keys("hidden.").len(), 1);
    for vdi in kept {
        assert_eq!(lab.content(vdi), Some(0), "{vdi} is lost");
    }
    for vdi in kept {
        delete(lab, vdi);
    }
    reclaim(lab);
    assert!(is_empty(lab));
}

#[test]
fn whatever_call_reclaim_dies_in_the_next_one_frees_the_rest_and_nothing_else() {
    let count = {
        let (lab, kept) = full_of_work();
        let process = lab.process(A);
        let faults = Faults::none();
        let cluster = FaultyCluster::new(&process.cluster, &faults);
        let left = repository(&cluster, &process.host, lab.sr).reclaim(|_, _| {});
        assert_eq!(left.unwrap(), 0);
        check_done(&lab, &kept);
        faults.calls()
    };
    let mut points = 0;
    for nth in 0..count {
        for mode in Mode::ALL {
            let (lab, kept) = full_of_work();
            let process = lab.process(A);
            let calls = Calls::All;
            let faults = Faults::plan(Plan { calls, nth, mode });
            let cluster = FaultyCluster::new(&process.cluster, &faults);
            let _told = repository(&cluster, &process.host, lab.sr).reclaim(|_, _| {});
            assert!(faults.hit().is_some(), "{nth} {mode:?} was never reached");
            lab.world.kill(process.host.owner());
            lab.world.advance_seconds(LEASE_OVER);
            assert_eq!(
                lab.run(B, |sr| sr.reclaim(|_, _| {})).unwrap(),
                0,
                "{nth} {mode:?}"
            );
            faults.deliver();
            check_done(&lab, &kept);
            points += 1;
        }
    }
    assert!(points > 200, "only {points}");
}

#[test]
fn a_disk_whose_host_just_died_is_deleted_at_once_and_freed_when_ceph_has_noticed() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.activate(A, &disk).unwrap();
    lab.world.reboot(A);
    delete(&lab, &disk);
    assert_eq!(lab.record(&disk), None);
    assert!(matches!(
        pending(&lab)[..],
        [Pending {
            holds_up: Some(HoldUp::Open { .. }),
            ..
        }]
    ));
    assert!(lab.scan(B).unwrap().vdis.is_empty());
    assert_eq!(reclaim(&lab), 0);
    assert!(is_empty(&lab), "{:?}", lab.world.snapshot());
}
