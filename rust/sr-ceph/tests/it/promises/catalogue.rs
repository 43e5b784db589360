//! The catalogue's records, also damaged ones.

use sr::xapi::XapiVdi;
use sr_ceph::Error;
use uuid::Uuid;

use crate::support::{named, Lab, A, B, GIB};

#[test]
fn names_are_copied_from_xapi_and_returned_to_an_empty_xapi() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let original = lab.create(GIB);
    let mut known = lab.known(vdi, "database 🐘");
    known.fields.snapshot_of = Some(original);
    known.fields.sm_config.insert("vendor".into(), "x".into());
    lab.run(A, |sr| sr.scan(&[known.clone()])).unwrap();
    let scan = lab.scan(B).unwrap();
    let found = scan.vdis.iter().find(|v| v.uuid == vdi).unwrap();
    assert_eq!(found.xapi, known.fields);
}

#[test]
fn an_update_of_one_vdi_is_remembered() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let known = lab.known(vdi, "renamed");
    lab.run(A, |sr| sr.update_vdi(&known)).unwrap();
    assert_eq!(lab.record(&vdi).unwrap().xapi, named("renamed"));
    let missing = lab.known(Uuid::new_v4(), "nobody");
    let error = lab.run(A, |sr| sr.update_vdi(&missing)).unwrap_err();
    assert!(matches!(error, Error::VdiMissing { .. }), "{error}");
}

/// Returns a disk, and the `snapshot_of` of its snapshot in the catalogue after `act` on XAPI's record.
fn snapshot_of_after(act: impl FnOnce(&Lab, XapiVdi)) -> (Uuid, Option<Uuid>) {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    let mut known = lab.known(snapshot, "snapshot");
    known.fields.is_a_snapshot = true;
    act(&lab, known);
    (disk, lab.record(&snapshot).unwrap().xapi.snapshot_of)
}

#[test]
fn a_snapshot_keeps_its_disk_while_xapi_does_not_name_it() {
    let (disk, kept) = snapshot_of_after(|lab, known| {
        lab.run(A, |sr| sr.update_vdi(&known)).unwrap();
    });
    assert_eq!(kept, Some(disk));
    // A scan keeps it too, and returns it to XAPI.
    let (disk, kept) = snapshot_of_after(|lab, known| {
        let snapshot = known.uuid;
        let scan = lab.run(B, |sr| sr.scan(&[known])).unwrap();
        let disk = lab.record(&snapshot).unwrap().xapi.snapshot_of;
        assert_eq!(scan.disks_of_snapshots().get(&snapshot).copied(), disk);
    });
    assert_eq!(kept, Some(disk));
}

#[test]
fn a_snapshot_gets_the_disk_that_xapi_names() {
    let other = Uuid::new_v4();
    let (_, kept) = snapshot_of_after(|lab, mut known| {
        known.fields.snapshot_of = Some(other);
        lab.run(A, |sr| sr.update_vdi(&known)).unwrap();
    });
    assert_eq!(kept, Some(other));
    let (_, kept) = snapshot_of_after(|lab, mut known| {
        known.fields.is_a_snapshot = false;
        lab.run(A, |sr| sr.update_vdi(&known)).unwrap();
    });
    assert_eq!(kept, None);
}

#[test]
fn a_scan_of_2500_vdis_lists_every_one() {
    let lab = Lab::new();
    let process = lab.process(A);
    let made: Vec<Uuid> = (0..2500).map(|_| Uuid::new_v4()).collect();
    for uuid in &made {
        let disk = crate::support::new_disk(*uuid, GIB);
        process.ceph_sr().create_disk(&disk).unwrap();
    }
    let listed = lab.vdis(B);
    assert_eq!(listed.len(), made.len());
    assert!(made.iter().all(|uuid| listed.contains_key(uuid)));
}

/// Replaces a VDI's record by a value, and checks that no other VDI is affected.
fn damage(value: &[u8]) -> (Lab, Uuid, Uuid) {
    let lab = Lab::new();
    let (damaged, sound) = (lab.create(GIB), lab.create(2 * GIB));
    let known = lab.known(damaged, "precious");
    lab.run(A, |sr| sr.update_vdi(&known)).unwrap();
    lab.sim
        .put(&lab.catalogue(), &format!("vdi.{damaged}"), value);
    (lab, damaged, sound)
}

#[test]
fn a_damaged_record_is_reported_and_no_vdi_is_lost() {
    for value in [&b"{"[..], b"\xff\xfe", b"null", b"{\"version\":1}", b"[]"] {
        let (lab, damaged, sound) = damage(value);
        let scan = lab.scan(B).unwrap();
        let named: Vec<_> = scan
            .warnings
            .iter()
            .filter(|w| w.contains(&damaged.to_string()))
            .collect();
        assert_eq!(named.len(), 1, "{:?}", scan.warnings);
        let sizes: Vec<_> = scan.vdis.iter().map(|v| (v.uuid, v.size)).collect();
        assert!(sizes.contains(&(damaged, GIB)) && sizes.contains(&(sound, 2 * GIB)));
        // Each command on the VDI fails, and changes nothing.
        let before = lab.sim.snapshot();
        for error in [
            lab.run(A, |sr| sr.delete_vdi(&damaged)).unwrap_err(),
            lab.activate(A, &damaged).map(|_| ()).unwrap_err(),
            lab.run(A, |sr| sr.resize_vdi(&damaged, i128::from(3 * GIB)))
                .map(|_| ())
                .unwrap_err(),
        ] {
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
        assert_eq!(lab.sim.snapshot(), before);
        lab.activate(A, &sound).unwrap();
        lab.deactivate(A, &sound).unwrap();
        lab.run(A, |sr| sr.delete_vdi(&sound)).unwrap();
    }
}

#[test]
fn a_damaged_record_keeps_the_name_that_xapi_has() {
    let (lab, damaged, _) = damage(b"{");
    let known = [lab.known(damaged, "precious")];
    let scan = lab.run(B, |sr| sr.scan(&known)).unwrap();
    let found = scan.vdis.iter().find(|v| v.uuid == damaged).unwrap();
    assert_eq!(found.xapi.name_label, "precious");
}

#[test]
fn a_scan_skips_a_damaged_record_that_xapi_does_not_have() {
    let lab = Lab::new();
    let sound = lab.create(GIB);
    let key = format!("vdi.{}", Uuid::new_v4());
    lab.sim.put(&lab.catalogue(), &key, b"garbage");
    let scan = lab.scan(B).unwrap();
    let listed: Vec<_> = scan.vdis.iter().map(|vdi| vdi.uuid).collect();
    assert_eq!(listed, [sound]);
    let remove = format!("'rados -p rbd rmomapkey {} {key}'", lab.catalogue());
    assert!(scan.warnings[0].contains(&remove), "{:?}", scan.warnings);
    assert_eq!(lab.keys(&key), [key]);
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_not_destroyed() {
    let value = br#"{"version":2,"holographic":true}"#;
    let (lab, newer, _) = damage(value);
    let error = lab.run(A, |sr| sr.delete_vdi(&newer)).unwrap_err();
    assert!(error.to_string().contains("version is 2"), "{error}");
    lab.run(A, |sr| sr.scan(&[lab.known(newer, "x")])).unwrap();
    let entries = lab.sim.object(&lab.catalogue()).unwrap();
    assert_eq!(entries[&format!("vdi.{newer}")], value);
}

#[test]
fn an_sr_is_attached_although_a_mapped_disk_has_a_damaged_record() {
    let lab = Lab::new();
    let (vdi, sound) = (lab.create(GIB), lab.create(GIB));
    lab.activate(A, &vdi).unwrap();
    lab.sim.put(&lab.catalogue(), &format!("vdi.{vdi}"), b"{");
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    assert_eq!(
        lab.sim.devices(A).len(),
        1,
        "nobody can say that it is not in use"
    );
    lab.activate(A, &sound).unwrap();
}

#[test]
fn a_damaged_journal_entry_stops_only_its_own_vdi() {
    let lab = Lab::new();
    let (vdi, sound) = (lab.create(GIB), lab.create(GIB));
    lab.sim.put(&lab.catalogue(), &format!("op.{vdi}"), b"{");
    assert_eq!(lab.vdis(B).len(), 2);
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    let error = lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    lab.run(A, |sr| sr.delete_vdi(&sound)).unwrap();
}
