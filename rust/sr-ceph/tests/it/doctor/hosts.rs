//! Claims, fencing and devices.

use sr::finding::table;
use sr_ceph::record::{Record, VdiRecord};
use uuid::Uuid;

use super::{among, facts, look, nothing, only};
use crate::support::{new_disk, Lab, A, B, GIB};

/// Host B has a disk in use.
fn used_by_b() -> (Lab, Uuid) {
    let lab = Lab::new();
    for host in [A, B] {
        lab.run(host, |sr| sr.attach_sr()).unwrap();
    }
    let disk = lab.create(GIB);
    lab.activate(B, &disk).unwrap();
    nothing(&lab);
    (lab, disk)
}

fn change_claim(lab: &Lab, disk: &Uuid, change: impl FnOnce(&mut VdiRecord)) {
    let mut record = lab.record(disk).unwrap();
    change(&mut record);
    let value = record.seal();
    lab.sim
        .put(&lab.catalogue(), &format!("vdi.{disk}"), &value);
}

#[test]
fn a_claim_of_a_host_that_xapi_has_as_dead_is_found() {
    let (lab, disk) = used_by_b();
    lab.sim.declare_dead(B, true);
    let found = only(&lab, &table::CLAIM_OF_DEAD);
    assert!(found.object.contains(&disk.to_string()), "{found:?}");
    assert!(found.since.is_some());
}

#[test]
fn a_claim_of_a_host_that_the_catalogue_has_as_dead_is_found() {
    let (lab, _) = used_by_b();
    lab.run(A, |sr| sr.declare_dead(B, "fenced")).unwrap();
    let found = only(&lab, &table::CLAIM_OF_DEAD);
    assert!(found.found.contains("(fenced)"), "{found:?}");
}

#[test]
fn a_claim_of_an_unknown_host_is_found() {
    let (lab, disk) = used_by_b();
    change_claim(&lab, &disk, |record| {
        record.claim.as_mut().unwrap().owner.host = "a-host-of-another-pool".to_owned();
    });
    let found = among(&lab, &table::CLAIM_OF_UNKNOWN);
    assert!(found.fix.contains("smblock release"), "{found:?}");
}

#[test]
fn a_claim_of_an_earlier_boot_is_found_and_repaired() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.activate(A, &disk).unwrap();
    lab.sim.reboot(A);
    only(&lab, &table::CLAIM_OF_EARLIER_BOOT);
    lab.run(A, |sr| sr.repair()).unwrap();
    nothing(&lab);
}

#[test]
fn a_claim_without_a_device_is_found_and_repaired() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.activate(A, &disk).unwrap();
    let claimed = lab.record(&disk).unwrap().claim;
    lab.deactivate(A, &disk).unwrap();
    change_claim(&lab, &disk, |record| record.claim = claimed);
    only(&lab, &table::CLAIM_WITHOUT_DEVICE);
    lab.run(A, |sr| sr.repair()).unwrap();
    nothing(&lab);
}

#[test]
fn a_device_without_a_claim_is_found_and_repaired() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let mapped = lab.sim.map_by_hand(A, &lab.image_name(&disk)).unwrap();
    let found = only(&lab, &table::STALE_DEVICE);
    let device = mapped.device.display().to_string();
    assert_eq!(found.object, format!("device {device}"));
    lab.sim.set_open(A, &mapped.device, true);
    lab.run(A, |sr| sr.repair()).unwrap();
    only(&lab, &table::STALE_DEVICE);
    lab.sim.set_open(A, &mapped.device, false);
    lab.run(A, |sr| sr.repair()).unwrap();
    nothing(&lab);
}

#[test]
fn a_device_that_is_cut_off_and_a_host_that_is_declared_dead_are_found() {
    let (lab, _) = used_by_b();
    lab.run(A, |sr| sr.declare_dead(B, "fenced")).unwrap();
    let found = look(&lab, B);
    let kinds: Vec<_> = found.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [&table::DECLARED_DEAD, &table::FENCED_DEVICE]);
}

#[test]
fn tags_are_compared_with_what_the_sr_has_on_this_host() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let mut facts = facts(&lab);
    facts.here = "OpaqueRef:1".to_owned();
    let tag = ("host_OpaqueRef:1".to_owned(), "RW".to_owned());
    facts.vdis[0].sm_config.extend([tag]);
    let host = r#"{"reference": "OpaqueRef:1", "uuid": "a", "name": "a", "declared_dead": false}"#;
    facts.hosts.push(serde_json::from_str(host).unwrap());
    let found = lab.run(A, |sr| sr.doctor(&facts)).unwrap();
    assert_eq!(found[0].kind, &table::TAG_WITHOUT_DEVICE, "{found:#?}");
    lab.activate(A, &disk).unwrap();
    assert_eq!(lab.run(A, |sr| sr.doctor(&facts)).unwrap(), []);
}

#[test]
fn an_attached_disk_of_high_availability_is_no_fault() {
    let lab = Lab::new();
    for host in [A, B] {
        lab.run(host, |sr| sr.attach_sr()).unwrap();
    }
    let mut new = new_disk(Uuid::new_v4(), GIB);
    new.xapi.ty = "ha_statefile".to_owned();
    lab.run(A, |sr| sr.create_disk(&new)).unwrap();
    for host in [A, B] {
        lab.run(host, |sr| sr.attach_ha_vdi(&new.uuid)).unwrap();
    }
    nothing(&lab);
}
