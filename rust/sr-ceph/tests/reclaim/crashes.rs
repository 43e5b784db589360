//! What kills a worker, or the host of a disk, keeps no space from being freed.

use super::*;

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
    assert!(open.iter().all(|p| p.waits_for.is_some()), "{open:?}");
    // The two disks, and the one image that they and the snapshot need.
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
fn whatever_call_reclaim_dies_in_the_next_one_frees_the_rest_and_nothing_else() {
    let count = {
        let (lab, kept) = full_of_work();
        let process = lab.process(A);
        let faults = Faults::none();
        let pool = FaultyPool::new(&process.pool, &faults);
        let left = ceph_sr(&pool, &process.host, lab.sr).reclaim(|_, _| {});
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
            let pool = FaultyPool::new(&process.pool, &faults);
            let _told = ceph_sr(&pool, &process.host, lab.sr).reclaim(|_, _| {});
            assert!(faults.hit().is_some(), "{nth} {mode:?} was never reached");
            lab.sim.kill(process.host.owner());
            lab.let_leases_end();
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

/// A deleted clone that a snapshot of it keeps, with an empty head or not yet, and that snapshot.
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
fn whatever_call_kills_who_empties_or_discards_a_clone_no_object_is_left() {
    let mut points = 0;
    for emptied in [false, true] {
        for nth in 0.. {
            let mut reached = false;
            for mode in Mode::ALL {
                let (lab, of_clone) = hidden_clone(emptied);
                let process = lab.process(A);
                let calls = Calls::All;
                let faults = Faults::plan(Plan { calls, nth, mode });
                let pool = FaultyPool::new(&process.pool, &faults);
                let sr = ceph_sr(&pool, &process.host, lab.sr);
                if emptied {
                    let _told = sr.delete_vdi(&of_clone);
                }
                let _told = sr.reclaim(|_, _| {});
                lab.sim.kill(process.host.owner());
                lab.let_leases_end();
                lab.run(B, |sr| sr.reclaim(|_, _| {})).unwrap();
                faults.deliver();
                for vdi in lab.vdis(B).keys() {
                    delete(&lab, vdi);
                }
                reclaim(&lab);
                let point = format!("{emptied} {nth} {mode:?}");
                assert_eq!(lab.sim.leaks(), [""; 0], "{point}");
                assert_eq!(lab.sim.wrong_purges(), [""; 0], "{point}");
                assert!(is_empty(&lab), "{point}: {:?}", lab.sim.snapshot());
                assert_eq!(lab.keys("trash."), [""; 0], "{point}");
                reached |= faults.hit().is_some();
                points += usize::from(faults.hit().is_some());
            }
            if !reached {
                break;
            }
        }
    }
    assert!(points > 100, "only {points}");
}
