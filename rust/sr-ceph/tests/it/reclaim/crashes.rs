//! Space is freed also after the death of a worker, or of the host of a disk.

use super::*;

/// Returns a deleted family with a snapshot and a clone left, and a disk with a long chain of deleted
/// parents. A further disk is deleted.
fn full_of_work() -> (Lab, [Uuid; 3]) {
    let lab = alone();
    let plain = lab.create(GIB);
    let family = chain(&lab, 1);
    let kept = lab.snapshot(&family[0]);
    let clone = lab.clone_of(&family[1]);
    let [parent, snapshot, deep] = chain(&lab, 1)[..] else {
        unreachable!("a disk, its snapshot and a clone")
    };
    let key = format!("vdi.{deep}"); // a forged depth is cheaper than a real chain
    forge(&lab, &key, &key, "depth", (SOFT_DEPTH + 1).into());
    for vdi in family.iter().chain([&parent, &snapshot, &plain]) {
        delete(&lab, vdi);
    }
    (lab, [kept, clone, deep])
}

fn check_done(lab: &Lab, kept: &[Uuid; 3]) {
    let open = pending(lab);
    assert!(open.iter().all(|p| p.waits_for.is_some()), "{open:?}");
    // Left are the two disks, and the image that they and the snapshot need.
    let pool = lab.sim.snapshot();
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
fn a_reclaim_that_dies_in_any_call_is_completed_by_the_next_one() {
    let points = at_each_call(Calls::All, |plan| {
        let (lab, kept) = full_of_work();
        let process = lab.process(A);
        let faults = Faults::plan(plan);
        let pool = FaultyPool::new(&process.pool, &faults);
        let left = ceph_sr(&pool, &process.host, lab.sr).reclaim(|_, _| {});
        if faults.hit().is_none() {
            assert_eq!(left.unwrap(), 0);
        }
        lab.sim.kill(process.host.owner());
        lab.let_leases_end();
        assert_eq!(
            lab.run(B, |sr| sr.reclaim(|_, _| {})).unwrap(),
            0,
            "{plan:?}"
        );
        faults.deliver();
        check_done(&lab, &kept);
        faults.hit().is_some()
    });
    assert!(points > 200, "only {points}");
}

#[test]
fn a_disk_of_a_host_that_just_died_is_deleted_at_once_and_freed_later() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.activate(A, &disk).unwrap();
    lab.sim.reboot(A);
    delete(&lab, &disk);
    assert_eq!(lab.record(&disk), None);
    assert!(matches!(
        pending(&lab)[..],
        [Pending {
            waits_for: Some(Blocker::Open { .. }),
            ..
        }]
    ));
    assert!(lab.scan(B).unwrap().vdis.is_empty());
    assert_eq!(reclaim(&lab), 0);
    assert!(is_empty(&lab), "{:?}", lab.sim.snapshot());
}

/// Returns the snapshot of a deleted clone, whose hidden image has been emptied or not.
fn hidden_clone(emptied: bool) -> (Lab, Uuid) {
    let lab = alone();
    let family = chain(&lab, 1);
    let of_clone = lab.snapshot(&family[2]);
    delete(&lab, &family[2]);
    if emptied {
        reclaim(&lab);
    }
    (lab, of_clone)
}

#[test]
fn a_worker_that_dies_in_any_call_on_a_clone_leaves_no_object() {
    let mut points = 0;
    for emptied in [false, true] {
        points += at_each_call(Calls::All, |plan| {
            let (lab, of_clone) = hidden_clone(emptied);
            let process = lab.process(A);
            let faults = Faults::plan(plan);
            let pool = FaultyPool::new(&process.pool, &faults);
            let sr = ceph_sr(&pool, &process.host, lab.sr);
            if emptied {
                let _result = sr.delete_vdi(&of_clone);
            }
            let _result = sr.reclaim(|_, _| {});
            lab.sim.kill(process.host.owner());
            lab.let_leases_end();
            lab.run(B, |sr| sr.reclaim(|_, _| {})).unwrap();
            faults.deliver();
            for vdi in lab.vdis(B).keys() {
                delete(&lab, vdi);
            }
            reclaim(&lab);
            let point = format!("{emptied} {plan:?}");
            assert_eq!(lab.sim.leaks(), [""; 0], "{point}");
            assert_eq!(lab.sim.wrong_purges(), [""; 0], "{point}");
            assert!(is_empty(&lab), "{point}: {:?}", lab.sim.snapshot());
            assert_eq!(lab.keys("trash."), [""; 0], "{point}");
            faults.hit().is_some()
        });
    }
    assert!(points > 100, "only {points}");
}
