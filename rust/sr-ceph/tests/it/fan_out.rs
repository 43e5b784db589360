//! Many disks from one template: one snapshot for all, and always the present content.

use sr_ceph::faults::{at_each_call, Calls, Faults, FaultyPool};
use sr_ceph::pool::Pool;
use uuid::Uuid;

use crate::support::{ceph_sr, Lab, A, B, GIB};

/// Returns the number of snapshots of all images that are not hidden.
fn snapshots(lab: &Lab) -> usize {
    let pool = lab.sim.snapshot();
    pool.snapshots.iter().filter(|(_, _, gone)| !gone).count()
}

#[test]
fn a_hundred_disks_from_one_template_cost_one_snapshot() {
    let (lab, template) = Lab::with_disk();
    let clones: Vec<Uuid> = (0..100).map(|_| lab.clone_of(&template)).collect();
    assert_eq!(snapshots(&lab), 1);
    assert!(clones.iter().all(|c| lab.content(c) == Some(1)));
    lab.clear();
}

#[test]
fn a_clone_has_the_present_content_of_its_disk() {
    let (lab, disk) = Lab::with_disk();
    let first = lab.clone_of(&disk);
    lab.write(&disk, 2);
    let second = lab.clone_of(&disk);
    lab.run(A, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB)))
        .unwrap();
    let third = lab.clone_of(&disk);
    let snapshot = lab.snapshot(&first);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    let fourth = lab.clone_of(&disk);
    let contents = [first, second, third, fourth].map(|vdi| lab.content(&vdi));
    assert_eq!(contents, [Some(1), Some(2), Some(2), Some(1)]);
    let sizes = [second, third, fourth].map(|vdi| lab.record(&vdi).unwrap().size);
    assert_eq!(sizes, [GIB, 2 * GIB, GIB]);
    lab.clear();
}

#[test]
fn a_running_disk_is_cloned_as_it_is_each_time() {
    let (lab, disk) = Lab::with_disk();
    let device = lab.activate(B, &disk).unwrap().device;
    let first = lab.clone_of(&disk);
    lab.sim.write(B, &device, 2).unwrap();
    let second = lab.clone_of(&disk);
    lab.deactivate(B, &disk).unwrap();
    let third = lab.clone_of(&disk);
    let contents = [first, second, third].map(|vdi| lab.content(&vdi));
    assert_eq!(contents, [Some(1), Some(2), Some(2)]);
    lab.clear();
}

#[test]
fn a_disk_that_is_written_again_loses_its_clone_base() {
    let (lab, disk) = Lab::with_disk();
    let clone = lab.clone_of(&disk);
    assert_eq!(snapshots(&lab), 1);
    lab.write(&disk, 2);
    lab.scan(B).unwrap();
    assert_eq!(snapshots(&lab), 0);
    assert_eq!(lab.content(&clone), Some(1));
    lab.clear();
}

#[test]
fn a_base_that_was_removed_by_hand_is_made_again() {
    let (lab, disk) = Lab::with_disk();
    lab.clone_of(&disk);
    let base = lab.record(&disk).unwrap().base.unwrap().snapshot.id;
    let by_hand = lab.sim.client();
    by_hand.remove_snapshot(&lab.image_id(&disk), base).unwrap();
    let clone = lab.clone_of(&disk);
    assert_eq!(lab.content(&clone), Some(1));
    lab.clear();
}

#[test]
fn a_clone_has_what_was_written_to_its_disks_image_by_hand() {
    let (lab, disk) = Lab::with_disk();
    let first = lab.clone_of(&disk);
    lab.sim.write_by_hand(&lab.image_name(&disk), 2);
    let second = lab.clone_of(&disk);
    let third = lab.clone_of(&disk);
    let contents = [first, second, third].map(|vdi| lab.content(&vdi));
    assert_eq!(contents, [Some(1), Some(2), Some(2)]);
    assert_eq!(snapshots(&lab), 1, "the base was not replaced");
    lab.clear();
}

/// What happens after the first clone of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Shares,
    Renews,
    RenewsAfterHand,
    Scan,
}

#[test]
fn a_further_clone_that_dies_in_any_change_leaves_nothing() {
    let mut points = 0;
    let all = [
        Next::Shares,
        Next::Renews,
        Next::RenewsAfterHand,
        Next::Scan,
    ];
    for next in all {
        points += at_each_call(Calls::Changes, |plan| {
            let (lab, disk) = Lab::with_disk();
            let first = lab.clone_of(&disk);
            let content = if next == Next::Shares { 1 } else { 2 };
            match next {
                Next::Shares => {}
                Next::RenewsAfterHand => {
                    lab.sim.write_by_hand(&lab.image_name(&disk), content);
                }
                Next::Renews | Next::Scan => lab.write(&disk, content),
            }
            let new = Uuid::new_v4();
            let process = lab.process(A);
            let faults = Faults::plan(plan);
            let pool = FaultyPool::new(&process.pool, &faults);
            let sr = ceph_sr(&pool, &process.host, lab.sr);
            let done = match next {
                Next::Scan => sr.scan(&[]).is_ok(),
                _ => sr.clone_vdi(&disk, &new).is_ok(),
            };
            lab.sim.kill(sr_ceph::host::Host::owner(&process.host));
            faults.deliver();
            lab.let_leases_end();
            lab.scan(B).unwrap();
            let point = format!("{next:?} {plan:?}");
            assert_eq!(lab.keys("op."), [""; 0], "{point}");
            assert!(
                !done || next == Next::Scan || lab.content(&new) == Some(content),
                "{point}"
            );
            let again = lab.clone_of(&disk);
            assert_eq!(lab.content(&again), Some(content), "{point}");
            assert_eq!(lab.content(&first), Some(1), "{point}");
            assert!(snapshots(&lab) <= 1, "{point}");
            lab.clear();
            faults.hit().is_some()
        });
    }
    assert!(points > 40, "only {points}");
}
