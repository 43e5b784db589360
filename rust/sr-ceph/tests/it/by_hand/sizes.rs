//! Images that were resized out of band.

use crate::support::B;

use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn a_scan_takes_over_the_size_of_a_disk_grown_by_hand() {
    let lab = Lab::new();
    let disk = lab.create(64 * MIB);
    lab.sim.resize_image(&lab.image_name(&disk), 128 * MIB);
    assert_eq!(lab.vdis(A)[&disk], 128 * MIB);
    assert_eq!(lab.record(&disk).unwrap().size, 128 * MIB);
    let epoch = lab.record(&disk).unwrap().epoch;
    assert_eq!(lab.vdis(B)[&disk], 128 * MIB);
    assert_eq!(lab.record(&disk).unwrap().epoch, epoch);
    let refusal = refused(&lab, |sr| sr.resize_vdi(&disk, i128::from(96 * MIB)));
    assert_contains(&refusal, &["cannot shrink"]);
    assert_eq!(lab.keys("op."), [""; 0]);
}

#[test]
fn a_scan_finds_grown_disks_among_many_and_reads_few_sizes() {
    let lab = Lab::new();
    let disks: Vec<_> = (0..70).map(|_| lab.create(64 * MIB)).collect();
    for disk in &disks {
        lab.sim.resize_image(&lab.image_name(disk), 128 * MIB);
    }
    let mut grown = 0;
    for _ in 0..3 {
        let sizes = lab.vdis(A);
        let now = sizes.values().filter(|size| **size == 128 * MIB).count();
        assert!(now - grown <= 32, "{now} after {grown}");
        grown = now;
        lab.sim.advance_seconds(30);
    }
    assert_eq!(grown, 70);
}

#[test]
fn a_snapshot_and_a_clone_of_a_disk_grown_by_hand_have_its_size() {
    for with_base in [false, true] {
        let lab = Lab::new();
        let disk = lab.create(64 * MIB);
        lab.sim.resize_image(&lab.image_name(&disk), 128 * MIB);
        let mut copies = vec![lab.clone_of(&disk)];
        if with_base {
            copies.push(lab.clone_of(&disk));
        }
        copies.push(lab.snapshot(&disk));
        for copy in &copies {
            assert_eq!(lab.record(copy).unwrap().size, 128 * MIB);
        }
        let of_snapshot = lab.clone_of(copies.last().unwrap());
        assert_eq!(lab.record(&of_snapshot).unwrap().size, 128 * MIB);
    }
}

#[test]
fn a_snapshot_keeps_its_size_if_the_disk_is_grown_by_hand() {
    let lab = Lab::new();
    let disk = lab.create(64 * MIB);
    let snapshot = lab.snapshot(&disk);
    lab.sim.resize_image(&lab.image_name(&disk), 128 * MIB);
    let sizes = lab.vdis(A);
    assert_eq!((sizes[&disk], sizes[&snapshot]), (128 * MIB, 64 * MIB));
}

#[test]
fn a_disk_that_forgets_its_changes_forgets_growth_by_hand_too() {
    let lab = Lab::new();
    let disk = lab.create(64 * MIB);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    lab.sim.resize_image(&lab.image_name(&disk), 128 * MIB);
    assert_eq!(lab.vdis(A)[&disk], 64 * MIB);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    lab.activate(A, &disk).unwrap();
    assert_eq!(lab.vdis(A)[&disk], 64 * MIB);
}

/// tapdisk does not resume a disk of another size than it has opened.
#[test]
fn no_snapshot_pauses_a_disk_that_was_grown_by_hand_in_use() {
    let lab = Lab::new();
    let disk = lab.create(64 * MIB);
    let name = lab.image_name(&disk);
    lab.activate(B, &disk).unwrap();
    lab.sim.set_used(B, &disk, true);
    lab.sim.set_datapath(B, Some("aio"));
    lab.sim.resize_image(&name, 128 * MIB);
    // Its tapdisk has the old size, so a scan leaves it.
    assert_eq!(lab.vdis(A)[&disk], 64 * MIB);
    let before = lab.sim.snapshot();
    let new = Uuid::new_v4();
    let refusal = refused(&lab, |sr| sr.snapshot_vdi(&disk, &new));
    let command = format!("'rbd resize --allow-shrink --size 67108864B rbd/{name}'");
    assert_contains(&refusal, &[&command, "EMEDIUMTYPE", "64 MiB", "128 MiB"]);
    lab.sim.set_datapath(B, None);
    assert_eq!(refused(&lab, |sr| sr.snapshot_vdi(&disk, &new)), refusal);
    assert_eq!(lab.sim.snapshot(), before, "nothing was changed or paused");

    // Each remedy of the text.
    lab.sim.resize_image(&name, 64 * MIB);
    lab.snapshot(&disk);
    lab.sim.resize_image(&name, 128 * MIB);
    lab.sim.set_used(B, &disk, false);
    lab.deactivate(B, &disk).unwrap();
    lab.activate(B, &disk).unwrap();
    lab.sim.set_used(B, &disk, true);
    let snapshot = lab.snapshot(&disk);
    assert_eq!(lab.record(&snapshot).unwrap().size, 128 * MIB);
    assert_eq!(lab.vdis(A)[&disk], 128 * MIB);
}

#[test]
fn a_disk_grown_by_hand_behind_blkback_has_snapshots() {
    let lab = Lab::new();
    let disk = lab.create(64 * MIB);
    lab.activate(B, &disk).unwrap();
    lab.sim.set_used(B, &disk, true);
    lab.sim.set_datapath(B, Some("phy"));
    lab.sim.resize_image(&lab.image_name(&disk), 128 * MIB);
    let snapshot = lab.snapshot(&disk);
    assert_eq!(lab.record(&snapshot).unwrap().size, 128 * MIB);
    lab.sim.set_used(B, &disk, false);
    lab.deactivate(B, &disk).unwrap();
    assert_eq!(lab.vdis(A)[&disk], 128 * MIB);
}

#[test]
fn a_disk_shrunk_by_hand_is_refused_with_the_command_that_grows_it() {
    let lab = Lab::new();
    let disk = lab.create(64 * MIB);
    let name = lab.image_name(&disk);
    lab.sim.resize_image(&name, 16 * MIB);
    let command = format!("'rbd resize --size 67108864B rbd/{name}'");
    for size in [64, 96, 128] {
        let refusal = refused(&lab, |sr| sr.resize_vdi(&disk, i128::from(size * MIB)));
        assert_contains(&refusal, &[&command, "shrunk outside smblock"]);
    }
    let new = Uuid::new_v4();
    for refusal in [
        refused(&lab, |sr| sr.activate_vdi(&disk, true)),
        refused(&lab, |sr| sr.snapshot_vdi(&disk, &new)),
        refused(&lab, |sr| sr.clone_vdi(&disk, &new)),
    ] {
        assert_contains(&refusal, &[&command]);
    }
    let scan = lab.scan(A).unwrap();
    assert_contains(&scan.warnings.concat(), &[&command]);
    assert_eq!(scan.vdis[0].size, 64 * MIB);
    assert_eq!(
        lab.sim
            .snapshot()
            .sizes
            .values()
            .copied()
            .collect::<Vec<_>>(),
        [16 * MIB]
    );
    assert_eq!(lab.keys("op."), [""; 0]);
    lab.sim.resize_image(&name, 64 * MIB);
    assert_eq!(lab.scan(A).unwrap().warnings, [""; 0]);
    lab.activate(A, &disk).unwrap();
}

#[test]
fn a_disk_of_an_odd_size_keeps_it_until_it_grows() {
    let lab = Lab::new();
    let disk = lab.create(64 * MIB);
    lab.sim.resize_image(&lab.image_name(&disk), 65 * MIB);
    assert_eq!(lab.vdis(A)[&disk], 65 * MIB);
    let resize = |size| lab.run(A, |sr| sr.resize_vdi(&disk, i128::from(size)));
    for same in [65 * MIB, 65 * MIB - 1] {
        assert_eq!(resize(same).unwrap(), 65 * MIB);
    }
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&snapshot);
    assert_eq!(lab.vdis(A)[&clone], 65 * MIB);
    assert!(resize(64 * MIB).is_err(), "a disk never shrinks");
    assert_eq!(resize(65 * MIB + 1).unwrap(), 66 * MIB);
}
