//! Disks that are made of images which do not belong to the SR.

use sr::engine::ImportRequest;
use sr_ceph::faults::{at_each_call, Calls, Faults, FaultyHost, FaultyPool, Plan};
use sr_ceph::host::Host;
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::pool::SnapshotKind;
use sr_ceph::vdi::SIZE_UNIT;
use sr_ceph::{CephSr, Error, Result};
use uuid::Uuid;

use crate::support::{ceph_sr, Lab, A, B, GIB};

const ODD: u64 = GIB + 12_345;

/// An SR, and a golden image of an odd size with a snapshot.
fn with_template() -> Lab {
    let lab = Lab::new();
    lab.sim.create_foreign_image("debian", ODD);
    lab.sim
        .snapshot_by_hand("debian", "golden", SnapshotKind::User);
    lab
}

fn request(source: &str) -> ImportRequest {
    ImportRequest {
        source: source.to_owned(),
        name_label: "web1".to_owned(),
        ..ImportRequest::default()
    }
}

fn import(lab: &Lab, source: &str) -> Result<Uuid> {
    let vdi = Uuid::new_v4();
    lab.run(A, |sr| sr.import_vdi(&vdi, &request(source)))?;
    Ok(vdi)
}

fn refusal(lab: &Lab, source: &str) -> String {
    let before = lab.sim.snapshot();
    let error = import(lab, source).unwrap_err();
    assert!(matches!(error, Error::Template(_)), "{error:?}");
    assert_eq!(lab.sim.snapshot(), before, "{error}");
    error.to_string()
}

#[test]
fn a_disk_of_a_template_is_a_whole_number_of_units_and_a_clone() {
    let lab = with_template();
    let vdi = import(&lab, "rbd/debian@golden").unwrap();
    let record = lab.record(&vdi).unwrap();
    assert_eq!(record.size, ODD.div_ceil(SIZE_UNIT) * SIZE_UNIT);
    assert_eq!((record.depth, record.xapi.name_label.as_str()), (1, "web1"));
    let scan = lab.scan(B).unwrap();
    assert_eq!(scan.vdis.len(), 1);
    assert_eq!(scan.warnings, [""; 0]);
    lab.activate(A, &vdi).unwrap();
    lab.deactivate(A, &vdi).unwrap();
    let (snapshot, clone) = (lab.snapshot(&vdi), lab.clone_of(&vdi));
    for each in [vdi, snapshot, clone] {
        lab.run(A, |sr| sr.delete_vdi(&each)).unwrap();
    }
    lab.settle();
    let left: Vec<String> = lab.sim.snapshot().images.into_keys().collect();
    assert_eq!(left, ["debian"]);
}

#[test]
fn a_disk_of_a_template_can_be_larger_and_not_smaller() {
    let lab = with_template();
    let vdi = Uuid::new_v4();
    let sized = |size: u64| ImportRequest {
        size: Some(size.into()),
        ..request("rbd/debian@golden")
    };
    let made = lab.run(A, |sr| sr.import_vdi(&vdi, &sized(3 * GIB)));
    assert_eq!(made.unwrap().size, 3 * GIB);
    let small = lab.run(A, |sr| sr.import_vdi(&Uuid::new_v4(), &sized(GIB)));
    let text = small.unwrap_err().to_string();
    assert!(text.contains("the disk cannot have 1 GiB"), "{text}");
}

#[test]
fn a_template_without_a_snapshot_is_refused_with_what_it_has() {
    let lab = with_template();
    let text = refusal(&lab, "rbd/debian");
    assert!(text.contains("rbd snap create rbd/debian@golden"), "{text}");
    assert!(text.contains("has the snapshots: golden"), "{text}");
    let id = lab.sim.create_foreign_image("used", GIB);
    lab.sim.open_with_librbd(&id);
    let text = refusal(&lab, "rbd/used");
    assert!(text.contains("The client 127.0.0.1:0/"), "{text}");
    assert!(!text.contains("has the snapshots"), "{text}");
}

#[test]
fn what_does_not_exist_is_named() {
    let lab = with_template();
    for (source, found) in [
        ("rbd/nothing@golden", "no image rbd/nothing"),
        ("nothing/debian@golden", "no image nothing/debian"),
        (
            "rbd/debian@other",
            "no snapshot rbd/debian@other; it has: golden",
        ),
        ("closed/debian@golden", "profile rbd-read-only pool=closed"),
        ("debian@golden", "it has no pool"),
        (
            "rbd/space/debian@golden",
            "rbd cp rbd/space/debian rbd/NEW-IMAGE",
        ),
        ("rbd//debian@golden", "is empty"),
        ("rbd/a/b/debian@golden", "too many parts"),
        ("rbd/@golden", "is empty"),
        ("rbd/debian@", "is empty"),
    ] {
        let text = refusal(&lab, source);
        assert!(text.contains(found), "{text}");
    }
}

#[test]
fn a_snapshot_of_a_group_or_a_removed_one_is_no_template() {
    let lab = Lab::new();
    lab.sim.create_foreign_image("grouped", GIB);
    let group = SnapshotKind::Group("rbd/group@s".to_owned());
    lab.sim.snapshot_by_hand("grouped", "s", group);
    let text = refusal(&lab, "rbd/grouped@s");
    assert!(text.contains("no snapshot rbd/grouped@s"), "{text}");
}

#[test]
fn a_template_that_no_kernel_maps_is_refused() {
    let lab = with_template();
    let supported = ImageFeatures::DEFAULT;
    lab.sim.set_supported_features(A, Some(supported));
    import(&lab, "rbd/debian@golden").unwrap();
    let journaled = supported.bits() | ImageFeatures::JOURNALING.bits();
    lab.sim.set_features("debian", journaled);
    let text = refusal(&lab, "rbd/debian@golden");
    assert!(
        text.contains("rbd feature disable rbd/debian journaling"),
        "{text}"
    );
    // The parents of a template are mapped, too.
    lab.sim.clone_by_hand("debian", "child");
    let images = lab.sim.snapshot().images.into_keys();
    let child = images
        .into_iter()
        .find(|name| name.starts_with("child"))
        .unwrap();
    lab.sim.snapshot_by_hand(&child, "s", SnapshotKind::User);
    let text = refusal(&lab, &format!("rbd/{child}@s"));
    assert!(
        text.contains("rbd feature disable rbd/debian journaling"),
        "{text}"
    );
}

#[test]
fn an_encrypted_or_mirrored_template_is_refused() {
    let lab = with_template();
    lab.sim.encrypt("debian");
    let text = refusal(&lab, "rbd/debian@golden");
    assert!(text.contains("LUKS header"), "{text}");
    for (bits, found) in [(1 << 9, "migration"), (1 << 10, "mirrored copy")] {
        let lab = with_template();
        lab.sim.set_features("debian", 1 | bits);
        let text = refusal(&lab, "rbd/debian@golden");
        assert!(text.contains(found), "{text}");
    }
}

#[test]
fn a_disk_of_an_sr_is_no_template() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let source = format!("rbd/{}@{snapshot}", lab.image_name(&disk));
    let text = refusal(&lab, &source);
    assert!(text.contains("xe vdi-clone"), "{text}");
}

#[test]
fn a_template_with_a_long_chain_of_parents_is_refused() {
    let lab = with_template();
    let mut name = "debian".to_owned();
    for depth in 1..=15 {
        lab.sim.clone_by_hand(&name, &format!("depth{depth}"));
        let images = lab.sim.snapshot().images.into_keys();
        let child = images
            .into_iter()
            .find(|it| it.starts_with(&format!("depth{depth}.")));
        name = child.unwrap();
        lab.sim.snapshot_by_hand(&name, "s", SnapshotKind::User);
        match depth {
            15 => assert!(refusal(&lab, &format!("rbd/{name}@s")).contains("15 parents")),
            14 => drop(import(&lab, &format!("rbd/{name}@s")).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn a_full_pool_refuses_a_disk_of_a_template() {
    let lab = with_template();
    lab.sim.set_quota(10 * GIB);
    lab.sim.set_stored(10 * GIB);
    let full = import(&lab, "rbd/debian@golden");
    assert!(matches!(full, Err(Error::NoRoom { .. })), "{full:?}");
}

#[test]
fn a_disk_in_use_is_not_located_and_its_host_is_named() {
    let (lab, disk) = Lab::with_disk();
    let found = lab.run(A, |sr| sr.locate_vdi(&disk)).unwrap();
    assert_eq!((found.pool.as_str(), found.size), ("rbd", GIB));
    assert_eq!(found.image, lab.image_name(&disk));
    assert_eq!(found.monitors, ["10.0.0.1:6789"]);
    lab.activate(B, &disk).unwrap();
    let text = lab.run(A, |sr| sr.locate_vdi(&disk)).unwrap_err();
    assert!(text.to_string().contains("host host-b"), "{text}");
}

#[test]
fn an_import_that_dies_in_any_call_is_done_or_leaves_nothing() {
    let points = at_each_call(Calls::All, |plan: Plan| {
        let lab = with_template();
        let (process, vdi) = (lab.process(A), Uuid::new_v4());
        let faults = Faults::plan(plan);
        let (pool, host) = (
            FaultyPool::new(&process.pool, &faults),
            FaultyHost::new(&process.host, &faults),
        );
        let sr: CephSr<'_> = ceph_sr(&pool, &host, lab.sr);
        let made = sr.import_vdi(&vdi, &request("rbd/debian@golden"));
        lab.sim.kill(process.host.owner());
        lab.let_leases_end();
        faults.deliver();
        let listed = lab.vdis(B);
        let is_there = listed.contains_key(&vdi);
        assert!(is_there || made.is_err(), "{plan:?}");
        if is_there {
            assert_eq!(listed[&vdi] % SIZE_UNIT, 0, "{plan:?}");
            lab.activate(B, &vdi).unwrap();
            lab.deactivate(B, &vdi).unwrap();
            lab.run(B, |sr| sr.delete_vdi(&vdi)).unwrap();
        }
        lab.settle();
        let left = lab.sim.snapshot();
        let names: Vec<_> = left.images.into_keys().collect();
        assert_eq!(names, ["debian"], "{plan:?}");
        assert_eq!(left.snapshots.len(), 1, "{plan:?}");
        assert!(left.trash.is_empty(), "{plan:?}");
        faults.hit().is_some()
    });
    assert!(points > 60, "only {points}");
}
