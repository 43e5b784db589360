//! Records that were removed from the catalogue with `rados rmomapkey`.

use super::*;
use sr_ceph::pool::{Pool, Transaction};

/// `rados rmomapkey`.
fn remove_record(lab: &Lab, vdi: &Uuid) {
    let removal = Transaction {
        remove: vec![format!("vdi.{vdi}")],
        ..Transaction::default()
    };
    let pool = lab.process(A).pool;
    pool.transaction(&lab.catalogue(), &removal).unwrap();
}

#[test]
fn a_scan_lists_a_disk_whose_record_was_removed_by_hand() {
    let (lab, disk) = Lab::with_disk();
    remove_record(&lab, &disk);
    let known = lab.known(disk, "mail");
    let scan = lab
        .run(A, |sr| sr.scan(std::slice::from_ref(&known)))
        .unwrap();
    assert_eq!(scan.vdis.len(), 1);
    assert_eq!(scan.vdis[0].xapi, known.fields);
    let warnings = scan.warnings.join("\n");
    assert!(
        warnings.contains(&format!("no record of VDI {disk}")),
        "{warnings}"
    );
    lab.activate(A, &disk).unwrap_err();
}

#[test]
fn a_scan_does_not_list_an_image_that_neither_xapi_nor_the_catalogue_has() {
    let (lab, disk) = Lab::with_disk();
    remove_record(&lab, &disk);
    let scan = lab.run(A, |sr| sr.scan(&[])).unwrap();
    assert!(scan.vdis.is_empty());
    assert!(scan
        .warnings
        .iter()
        .any(|text| text.contains("does not list it")));
}
