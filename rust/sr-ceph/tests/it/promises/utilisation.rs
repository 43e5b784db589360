//! What XAPI shows of the space that each disk takes.

use sr::xapi::XapiVdi;
use sr_ceph::faults::{at_each_call, Calls, Faults, FaultyPool, Plan};
use sr_ceph::host::Host;
use sr_ceph::memory::CLOSED_DATA_POOL;
use sr_ceph::sr::utilisation::{When, COUNT_SECONDS, GIVE_UP_SECONDS, UNIT};
use sr_ceph::{CephSr, Error};
use uuid::Uuid;

use crate::support::{ceph_sr, Lab, A, B, GIB};

/// Gives a disk's image that number of objects of 4 MiB.
fn fill(lab: &Lab, vdi: &Uuid, objects: u64) {
    lab.sim.set_objects(&lab.image_id(vdi), objects);
}

fn count(lab: &Lab) -> bool {
    lab.run(A, |sr| sr.count_utilisation(When::Now, &mut |_, _| {}))
        .unwrap()
}

/// What a scan reports of a VDI that XAPI has with that figure.
fn scanned(lab: &Lab, vdi: &Uuid, known: u64) -> Option<u64> {
    let known = XapiVdi {
        utilisation: known,
        ..lab.known(*vdi, "disk")
    };
    let scan = lab.run(B, |sr| sr.scan(&[known])).unwrap();
    let found = scan.vdis.iter().find(|found| found.uuid == *vdi);
    found.unwrap().utilisation
}

#[test]
fn a_scan_reports_the_last_count_rounded_up() {
    let (lab, disk) = Lab::with_disk();
    assert_eq!(scanned(&lab, &disk, 0), Some(0));
    fill(&lab, &disk, 17);
    assert_eq!(scanned(&lab, &disk, 0), Some(0), "a scan counts nothing");
    assert!(count(&lab));
    assert_eq!(scanned(&lab, &disk, 0), Some(2 * UNIT));
    fill(&lab, &disk, 256);
    assert!(count(&lab));
    assert_eq!(scanned(&lab, &disk, 0), Some(GIB));
    fill(&lab, &disk, 0);
    assert!(count(&lab));
    assert_eq!(scanned(&lab, &disk, GIB), Some(0));
}

#[test]
fn a_snapshot_and_a_new_clone_take_nothing() {
    let (lab, disk) = Lab::with_disk();
    fill(&lab, &disk, 100);
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&snapshot);
    count(&lab);
    assert_eq!(scanned(&lab, &snapshot, 0), Some(0));
    assert_eq!(scanned(&lab, &clone, 0), Some(0));
    assert_eq!(scanned(&lab, &disk, 0), Some(7 * UNIT));
}

/// `data_pool` of the device-config can be changed: it is for new images.
#[test]
fn a_disk_in_a_former_data_pool_keeps_its_figure() {
    let (lab, disk) = Lab::with_disk();
    fill(&lab, &disk, 100);
    count(&lab);
    let image = lab.image_id(&disk);
    lab.sim.set_data_pool(&image, Some("former"));
    fill(&lab, &disk, 200);
    count(&lab);
    assert_eq!(scanned(&lab, &disk, 0), Some(13 * UNIT));
    lab.sim.set_data_pool(&image, Some(CLOSED_DATA_POOL));
    fill(&lab, &disk, 256);
    count(&lab);
    assert_eq!(scanned(&lab, &disk, 0), Some(13 * UNIT), "not listed");
}

#[test]
fn a_disk_that_was_never_counted_keeps_xapis_figure() {
    let (lab, disk) = Lab::with_disk();
    assert_eq!(scanned(&lab, &disk, 5), Some(5));
}

#[test]
fn a_record_is_written_only_if_its_figure_has_changed() {
    let lab = Lab::new();
    let disk = lab.create(100 * GIB);
    fill(&lab, &disk, 25_000);
    count(&lab);
    let before = lab.sim.object(&lab.catalogue()).unwrap();
    fill(&lab, &disk, 25_200);
    count(&lab);
    let key = format!("vdi.{disk}");
    let after = lab.sim.object(&lab.catalogue()).unwrap();
    assert_eq!(before[&key], after[&key]);
    assert_ne!(before["utilisation"], after["utilisation"]);
}

#[test]
fn a_scan_starts_a_worker_that_counts_once_an_hour() {
    let (lab, disk) = Lab::with_disk();
    let due = |host: &str| {
        lab.run(host, |sr| {
            sr.scan(&[]).unwrap();
            sr.needs_worker()
        })
    };
    let in_background = || {
        lab.run(B, |sr| sr.count_utilisation(When::IfDue, &mut |_, _| {}))
            .unwrap()
    };
    fill(&lab, &disk, 1);
    assert!(!due(B), "the SR is new");
    lab.sim.advance_seconds(COUNT_SECONDS - 1);
    assert!(!due(B) && !in_background());
    lab.sim.advance_seconds(1);
    assert!(due(B));
    assert!(!due(A), "this host sees the SR for the first time");
    assert!(in_background());
    assert_eq!(scanned(&lab, &disk, 0), Some(UNIT));
    assert!(!due(B) && !in_background());
    lab.sim.advance_seconds(COUNT_SECONDS);
    assert!(due(B));
}

#[test]
fn a_count_lists_a_large_pool_in_parts_and_reports_each() {
    let (lab, disk) = Lab::with_disk();
    let other = lab.create(100 * GIB);
    fill(&lab, &disk, 3);
    fill(&lab, &other, 20_000);
    let foreign = lab.sim.create_foreign_image("foreign", GIB);
    lab.sim.set_objects(&foreign, 970_000);
    let mut reports = Vec::new();
    lab.run(A, |sr| {
        sr.count_utilisation(When::Now, &mut |done, total| reports.push((done, total)))
    })
    .unwrap();
    assert_eq!(reports.len(), 20);
    assert_eq!(reports[19].0, 990_103);
    assert!(reports.windows(2).all(|two| two[0].0 < two[1].0));
    assert_eq!(scanned(&lab, &other, 0), Some(1250 * UNIT));
    assert_eq!(scanned(&lab, &disk, 0), Some(UNIT));
}

#[test]
fn a_count_that_takes_too_long_ends_and_waits_for_an_hour() {
    let (lab, disk) = Lab::with_disk();
    fill(&lab, &disk, 3);
    let foreign = lab.sim.create_foreign_image("foreign", GIB);
    lab.sim.set_objects(&foreign, 1_000_000);
    let slow = lab.run(A, |sr| {
        sr.count_utilisation(When::Now, &mut |_, _| {
            lab.sim.advance_seconds(GIVE_UP_SECONDS / 4);
        })
    });
    let text = slow.unwrap_err().to_string();
    assert!(text.contains("objects in 1800 s"), "{text}");
    assert_eq!(scanned(&lab, &disk, 0), Some(0));
    let again = lab.run(A, |sr| sr.count_utilisation(When::IfDue, &mut |_, _| {}));
    assert!(!again.unwrap());
}

#[test]
fn an_sr_that_is_deleted_during_a_count_stays_deleted() {
    let lab = Lab::new();
    let left = lab.run(A, |sr| {
        sr.count_utilisation(When::Now, &mut |_, _| {
            lab.run(B, |sr| sr.delete_sr()).unwrap();
        })
    });
    assert!(matches!(left, Err(Error::SrMissing { .. })), "{left:?}");
    assert_eq!(lab.sim.object(&lab.catalogue()), None);
}

#[test]
fn a_disk_that_is_deleted_during_a_count_stays_deleted() {
    let (lab, disk) = Lab::with_disk();
    fill(&lab, &disk, 3);
    lab.run(A, |sr| {
        sr.count_utilisation(When::Now, &mut |_, _| {
            lab.run(B, |sr| sr.delete_vdi(&disk)).unwrap();
        })
    })
    .unwrap();
    assert_eq!(lab.record(&disk), None);
}

#[test]
fn a_disk_can_be_activated_and_snapshotted_during_a_count() {
    let (lab, disk) = Lab::with_disk();
    fill(&lab, &disk, 3);
    lab.run(A, |sr| {
        sr.count_utilisation(When::Now, &mut |_, _| {
            lab.activate(B, &disk).unwrap();
            lab.snapshot(&disk);
        })
    })
    .unwrap();
    let record = lab.record(&disk).unwrap();
    assert!(record.claim.is_some() && record.utilisation == Some(UNIT));
}

#[test]
fn two_srs_in_one_pool_have_figures_of_their_own() {
    let (lab, disk) = Lab::with_disk();
    let second = Lab {
        sr: Uuid::new_v4(),
        ..lab.clone()
    };
    second.run(A, |sr| sr.create_sr("second", "")).unwrap();
    let other = second.create(GIB);
    fill(&lab, &disk, 3);
    fill(&second, &other, 20);
    count(&lab);
    assert_eq!(scanned(&lab, &disk, 0), Some(UNIT));
    assert_eq!(scanned(&second, &other, 0), Some(0));
    count(&second);
    assert_eq!(scanned(&second, &other, 0), Some(2 * UNIT));
}

#[test]
fn a_scan_reports_few_new_figures_and_the_next_scans_the_others() {
    let lab = Lab::new();
    let disks: Vec<Uuid> = (0..70).map(|_| lab.create(GIB)).collect();
    disks.iter().for_each(|disk| fill(&lab, disk, 20));
    count(&lab);
    let mut known: Vec<XapiVdi> = disks.iter().map(|disk| lab.known(*disk, "disk")).collect();
    let mut changes = Vec::new();
    for _ in 0..4 {
        let scan = lab.run(B, |sr| sr.scan(&known)).unwrap();
        let mut changed = 0;
        for vdi in &mut known {
            let found = scan.vdis.iter().find(|found| found.uuid == vdi.uuid);
            let now = found.unwrap().utilisation.unwrap();
            changed += usize::from(now != vdi.utilisation);
            vdi.utilisation = now;
        }
        changes.push(changed);
    }
    assert_eq!(changes, [32, 32, 6, 0]);
}

#[test]
fn a_count_that_dies_in_any_call_is_repeated_by_the_next_worker() {
    let points = at_each_call(Calls::All, |plan: Plan| {
        let (lab, disk) = Lab::with_disk();
        let snapshot = lab.snapshot(&disk);
        fill(&lab, &disk, 20);
        let process = lab.process(A);
        let faults = Faults::plan(plan);
        let pool = FaultyPool::new(&process.pool, &faults);
        let sr = ceph_sr(&pool, &process.host, lab.sr);
        let _counted = sr.count_utilisation(When::Now, &mut |_, _| {});
        lab.sim.kill(process.host.owner());
        lab.let_leases_end();
        let again = |sr: CephSr<'_>| sr.count_utilisation(When::Now, &mut |_, _| {});
        assert!(lab.run(B, again).unwrap(), "{plan:?}");
        faults.deliver();
        assert_eq!(scanned(&lab, &disk, 0), Some(2 * UNIT), "{plan:?}");
        assert_eq!(scanned(&lab, &snapshot, 0), Some(0), "{plan:?}");
        lab.activate(A, &disk).unwrap();
        faults.hit().is_some()
    });
    assert!(points > 40, "only {points}");
}
