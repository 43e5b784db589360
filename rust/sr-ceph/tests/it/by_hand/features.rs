//! Features, image-meta and demotion.

use sr_ceph::image_features::ImageFeatures;
use sr_ceph::pool::NON_PRIMARY;

use super::*;

#[test]
fn a_demoted_disk_is_refused_with_the_command_that_promotes_it() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let name = lab.image_name(&disk);
    let features = ImageFeatures::DEFAULT.bits();
    lab.sim.set_features(&name, features | NON_PRIMARY);
    let new = Uuid::new_v4();
    let before = lab.sim.snapshot();
    for refusal in [
        refused(&lab, |sr| sr.activate_vdi(&disk, true)),
        refused(&lab, |sr| sr.activate_vdi(&snapshot, false)),
        refused(&lab, |sr| sr.snapshot_vdi(&disk, &new)),
        refused(&lab, |sr| sr.clone_vdi(&disk, &new)),
        refused(&lab, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB))),
        refused(&lab, |sr| sr.delete_vdi(&disk)),
        refused(&lab, |sr| sr.delete_vdi(&snapshot)),
    ] {
        let promote = format!("'rbd mirror image promote rbd/{name}'");
        assert_contains(&refusal, &["demoted", &promote]);
    }
    assert_eq!(lab.keys("op."), [""; 0]);
    let after = lab.sim.snapshot();
    assert_eq!(
        (after.images, after.snapshots),
        (before.images, before.snapshots)
    );
    assert_eq!(lab.vdis(A).len(), 2);
    lab.sim.set_features(&name, features);
    lab.clear();
}

#[test]
fn a_demoted_image_whose_data_is_to_be_freed_is_named_with_its_promotion() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.set_manager(false);
    let (name, snapshot) = (lab.image_name(&disk), lab.snapshot(&disk));
    let features = ImageFeatures::DEFAULT.bits();
    delete(&lab, &disk);
    let promote = format!("'rbd mirror image promote rbd/{name}'");
    // Reclaim empties its head first, then moves the image to the trash.
    for with_snapshot in [true, false] {
        if !with_snapshot {
            lab.sim.set_features(&name, features);
            lab.sim.remove_snapshots(&name);
        }
        lab.sim.set_features(&name, features | NON_PRIMARY);
        let mut failures = String::new();
        let reclaimed = lab.run(A, |sr| {
            sr.reclaim(|_, report| {
                if let sr_ceph::sr::reclaim::Report::Failed(error) = report {
                    failures.push_str(&error.to_string());
                }
            })
        });
        assert_eq!(reclaimed.unwrap(), 1);
        assert_contains(&failures, &["demoted", &promote]);
    }
    assert_eq!(lab.scan(A).unwrap().vdis.len(), 1, "the scan goes on");
    lab.sim.set_features(&name, features);
    delete(&lab, &snapshot);
    lab.sim.set_manager(true);
    lab.clear();
}

#[test]
fn a_feature_enabled_by_hand_is_named_with_its_removal() {
    let (lab, disk) = Lab::with_disk();
    let name = lab.image_name(&disk);
    lab.sim
        .set_supported_features(A, Some(ImageFeatures::DEFAULT));
    for feature in [ImageFeatures::JOURNALING, ImageFeatures::DEEP_FLATTEN] {
        let features = ImageFeatures::DEFAULT.bits() | feature.bits();
        lab.sim.set_features(&name, features);
        let refusal = refused(&lab, |sr| sr.activate_vdi(&disk, true));
        assert_contains(
            &refusal,
            &[&format!("rbd feature disable rbd/{name} {feature}")],
        );
        lab.snapshot(&disk);
    }
    lab.sim.set_features(&name, ImageFeatures::DEFAULT.bits());
    lab.activate(A, &disk).unwrap();
}

#[test]
fn a_disk_without_its_image_meta_works_and_is_deleted() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.set_image_meta(&lab.image_name(&disk), None);
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&snapshot);
    lab.activate(A, &disk).unwrap();
    lab.deactivate(A, &disk).unwrap();
    assert_eq!(lab.scan(A).unwrap().warnings, [""; 0]);
    assert_eq!(lab.content(&clone), Some(1));
    lab.clear();
}
