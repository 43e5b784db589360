//! What becomes of each image.

use super::*;
use crate::by_hand::assert_contains;

#[test]
fn disks_snapshots_and_clones_are_taken_over_with_their_names() {
    let (older, [disk, first, second, clone, unknown]) = Older::with_disks();
    let before = older.listed();
    let report = older.adopt();
    older.check_adopted(&before);
    let lab = &older.lab;
    assert_eq!(report.disks.len(), 3);
    assert_eq!(fields(lab, &disk).name_label, "disk");
    assert_eq!(fields(lab, &clone).name_label, "clone");
    assert_eq!(fields(lab, &unknown).name_label, format!("vdi-{unknown}"));
    for (snapshot, name, content) in [(first, "first", 1), (second, "second", 2)] {
        let fields = fields(lab, &snapshot);
        assert_eq!(fields.name_label, name);
        assert_eq!(fields.snapshot_of, Some(disk));
        assert!(fields.is_a_snapshot && fields.read_only);
        assert_eq!(lab.content(&snapshot), Some(content));
    }
    assert_eq!(lab.record(&clone).unwrap().depth, 1);
}

#[test]
fn an_adopted_sr_works_as_any_other() {
    let (older, [disk, first, second, clone, _]) = Older::with_disks();
    older.adopt();
    let lab = &older.lab;
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    lab.write(&disk, 9);
    assert_eq!(lab.content(&disk), Some(9));
    let snapshot = lab.snapshot(&disk);
    lab.run(A, |sr| sr.revert_vdi(&disk, &second)).unwrap();
    assert_eq!(lab.content(&disk), Some(2));
    let copy = lab.clone_of(&second);
    assert_eq!(lab.content(&copy), Some(2));
    for vdi in [copy, snapshot, second, clone, first] {
        lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
        lab.settle();
    }
    lab.clear();
}

#[test]
fn a_snapshot_with_a_clone_of_format_1_is_deleted_after_a_flatten() {
    let (older, [disk, first, _, clone, _]) = Older::with_disks();
    older.adopt();
    let lab = &older.lab;
    let before = lab.sim.snapshot();
    let refused = lab.run(A, |sr| sr.delete_vdi(&first)).unwrap_err();
    let spec = format!("rbd/{}@snap-{first}", lab.image_name(&disk));
    assert_contains(
        &refused.to_string(),
        &[&format!("'rbd children {spec}'"), "rbd flatten"],
    );
    assert_eq!(refused.id(), "SMB-C126");
    assert_eq!(lab.sim.snapshot(), before);
    lab.sim.flatten_by_hand(&lab.image_name(&clone));
    lab.run(A, |sr| sr.delete_vdi(&first)).unwrap();
    assert_eq!(lab.content(&clone), Some(1));
}

#[test]
fn a_dry_run_changes_nothing_and_reports_what_the_run_does() {
    let (older, _) = Older::with_disks();
    let before = older.lab.sim.snapshot();
    let planned = older.run(&older.request(false, false));
    assert_eq!(older.lab.sim.snapshot(), before);
    let done = older.adopt();
    assert_eq!((planned.disks, planned.notes), (done.disks, done.notes));
    assert!(!planned.done);
}

#[test]
fn a_second_adoption_does_nothing() {
    let (older, _) = Older::with_disks();
    let before = older.listed();
    older.adopt();
    let pool = older.lab.sim.snapshot();
    let again = older.adopt();
    assert_eq!((again.disks.len(), again.refused.len()), (0, 0));
    assert_eq!(older.lab.sim.snapshot(), pool);
    older.check_adopted(&before);
}

#[test]
fn a_disk_that_cannot_be_taken_as_it_is_refuses_everything() {
    type Harm = fn(&Older, &str);
    let harms: [(Harm, &[&str]); 5] = [
        (
            |older, name| drop(older.lab.sim.open_by_hand(name)),
            &["client 10.0.0.99:0/", "has it open", "rbd unmap"],
        ),
        (
            |older, name| drop(older.lab.sim.map_by_hand(A, name).unwrap()),
            &[
                "this host has it mapped as /dev/rbd",
                "then: rbd unmap /dev/rbd",
            ],
        ),
        (
            |older, name| older.lab.sim.lock_by_hand(name, Some("mine")),
            &["EBUSY", "remove the lock"],
        ),
        (
            |older, name| older.lab.sim.demote(name),
            &["is demoted", "rbd mirror image promote"],
        ),
        (
            |older, name| {
                let images = older.lab.sim.snapshot().images;
                older.lab.sim.lose_header(&images[name]);
            },
            &["cannot be opened (ENOENT (2)", "rbd rm rbd/vdi-"],
        ),
    ];
    for (harm, parts) in harms {
        let (older, [.., unknown]) = Older::with_disks();
        harm(&older, &older.name(&unknown));
        let before = older.lab.sim.snapshot();
        assert_contains(&older.refusals(), parts);
        assert_eq!(older.lab.sim.snapshot(), before);
    }
}

#[test]
fn a_plugged_sr_or_one_whose_disks_are_elsewhere_is_refused() {
    let (older, [disk, ..]) = Older::with_disks();
    let mut request = older.request(false, true);
    request.facts.plugged = vec!["host1".to_owned(), "host2".to_owned()];
    let report = older.run(&request);
    assert_contains(&texts(&report.refused), &["host1, host2", "xe pbd-unplug"]);
    let mut request = older.request(false, true);
    request.facts.without_smblock = vec!["host3".to_owned()];
    let report = older.run(&request);
    assert_contains(&texts(&report.refused), &["host3", "--replace-driver"]);
    let (mut request, other) = (older.request(false, true), Uuid::new_v4());
    request.facts.elsewhere.insert(disk, other);
    let report = older.run(&request);
    assert_contains(
        &texts(&report.refused),
        &[&format!("smblock adopt {other}")],
    );
    assert!(!older.listed().is_empty());
}

#[test]
fn other_images_are_left_alone_and_listed_with_the_reason() {
    let (older, [disk, ..]) = Older::with_disks();
    let uuid = Uuid::new_v4();
    let others = [
        ("golden".to_owned(), "not one of CephRBDSR"),
        ("vdi-golden".to_owned(), "has no UUID"),
        (format!("lab-vdi-{uuid}"), "--prefix lab-"),
        (format!("VHD-{uuid}"), "driver RBDSR"),
        (format!("RAW-{uuid}"), "driver RBDSR"),
    ];
    let sim = &older.lab.sim;
    for (name, _) in &others {
        sim.create_foreign_image(name, GIB);
    }
    let trashed = format!("vdi-{}", Uuid::new_v4());
    sim.create_foreign_image(&trashed, GIB);
    sim.move_to_trash(&trashed);
    let temporary = format!("snap-clone-temp-{uuid}");
    sim.snapshot_by_hand(&older.name(&disk), &temporary, SnapshotKind::User);
    let report = older.adopt();
    for (name, why) in &others {
        assert_contains(&texts(&report.left), &[&format!("rbd/{name}: "), why]);
        assert!(sim.snapshot().images.contains_key(name));
    }
    assert_eq!(report.left.len(), others.len());
    let spec = format!("rbd/vdi-{disk}@{temporary}");
    assert_contains(&texts(&report.notes), &[&format!("rbd snap rm {spec}")]);
}

#[test]
fn an_sr_with_a_prefix_takes_only_its_own_disks() {
    let mut older = Older::new("lab-");
    let disk = older.disk("mine", 1);
    let snapshot = older.snapshot(&disk, "kept");
    let other = format!("vdi-{}", Uuid::new_v4());
    older.lab.sim.create_foreign_image(&other, GIB);
    let before = older.listed();
    let report = older.adopt();
    older.check_adopted(&before);
    assert_contains(&texts(&report.left), &[&other, "--prefix ''"]);
    assert_eq!(fields(&older.lab, &snapshot).name_label, "kept");
    older.undo();
    older.check_given_back(&before);
}

#[test]
fn two_images_of_one_uuid_are_refused() {
    let (older, [disk, ..]) = Older::with_disks();
    let upper = format!("vdi-{}", disk.to_string().to_uppercase());
    older.lab.sim.create_foreign_image(&upper, GIB);
    assert_contains(&older.refusals(), &[&disk.to_string(), "rbd rename"]);
}

#[test]
fn a_disk_that_appears_after_the_adoption_is_taken_by_the_next_one() {
    let (mut older, [disk, ..]) = Older::with_disks();
    let before = older.listed();
    older.adopt();
    let late = older.disk("late", 5);
    older.adopt();
    assert_eq!(older.lab.content(&late), Some(5));
    assert_eq!(older.lab.vdis(B).len(), before.len() + 3);
    // CephRBDSR on another host makes the image of a disk again that smblock has.
    older.lab.sim.create_foreign_image(&older.name(&disk), GIB);
    assert_contains(&older.refusals(), &["already has a VDI"]);
}

#[test]
fn xapis_leftovers_are_reported() {
    let (mut older, [disk, ..]) = Older::with_disks();
    let lost = Uuid::new_v4();
    older.introduce(lost, "lost");
    older.known[0].size = GIB + 512;
    let mut request = older.request(false, false);
    let key = "host_OpaqueRef:1_device_path";
    let sm_config = [(key, "/dev/rbd0"), ("vdi_type", "aio")];
    request.facts.vdis = vec![vdi_facts(disk, &sm_config)];
    let report = older.run(&request);
    let notes = texts(&report.notes);
    assert_contains(&notes, &[&lost.to_string(), "makes XAPI forget it"]);
    assert_contains(&notes, &[&format!("XAPI has {} bytes", GIB + 512)]);
    assert_eq!(report.stale_keys.len(), 1);
    assert_eq!(report.stale_keys[0].key, key);
}

#[test]
fn an_image_with_features_of_no_kernel_is_taken_with_a_note() {
    let (older, [disk, ..]) = Older::with_disks();
    let sim = &older.lab.sim;
    let kernel = sr_ceph::image_features::ImageFeatures::DEFAULT;
    sim.set_supported_features(A, Some(kernel));
    sim.set_features(&older.name(&disk), kernel.bits() | 1 << 6);
    let notes = texts(&older.adopt().notes);
    let disable = format!("rbd feature disable rbd/vdi-{disk} journaling");
    assert_contains(&notes, &["cannot map: journaling", &disable]);
}

#[test]
fn a_pool_without_a_disk_makes_no_sr() {
    let older = Older::new("");
    assert_contains(&older.refusals(), &["no image named vdi-UUID"]);
    assert!(older.lab.sim.object(&older.lab.catalogue()).is_none());
}

#[test]
fn an_sr_that_is_half_adopted_cannot_be_plugged() {
    let (older, _) = Older::with_disks();
    let process = older.lab.process(A);
    let faults = sr_ceph::faults::Faults::plan(sr_ceph::faults::Plan {
        calls: sr_ceph::faults::Calls::Changes,
        nth: 4,
        mode: sr_ceph::faults::Mode::KilledAfter,
    });
    let pool = sr_ceph::faults::FaultyPool::new(&process.pool, &faults);
    let sr = crate::support::ceph_sr(&pool, &process.host, older.lab.sr);
    sr.adopt_older(&older.request(false, true)).unwrap_err();
    let refused = older.lab.run(A, |sr| sr.attach_sr()).unwrap_err();
    let fix = format!("'smblock adopt {}'", older.lab.sr);
    assert_contains(&refused.to_string(), &["holds no SR", &fix]);
    older.adopt();
}

#[test]
fn a_chain_that_no_kernel_maps_is_counted_and_noted() {
    let mut older = Older::new("");
    let mut disk = older.disk("first", 1);
    for _ in 0..17 {
        older.snapshot(&disk, "step");
        disk = older.clone_of(&disk, "next");
    }
    let flatten = format!("rbd flatten rbd/vdi-{disk}");
    let report = older.adopt();
    assert_contains(&texts(&report.notes), &["17 parents", &flatten]);
    assert_eq!(report.notes.len(), 1);
    assert_eq!(older.lab.record(&disk).unwrap().depth, 17);
    let new = Uuid::new_v4();
    let refused = older.lab.run(A, |sr| sr.snapshot_vdi(&disk, &new));
    assert_eq!(refused.unwrap_err().id(), "SMB-C030");
}
