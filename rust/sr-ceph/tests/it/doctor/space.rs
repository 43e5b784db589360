//! Space that is to be freed, a nearly full pool, and the health of the cluster.

use sr::finding::{table, Severity};
use sr_ceph::pool::SnapshotKind;

use super::{among, look, nothing, only};
use crate::support::{Lab, A, B, GIB};

#[test]
fn a_nearly_full_pool_is_found() {
    let (lab, _) = Lab::with_disk();
    lab.sim.set_quota(100 * GIB);
    lab.sim.set_stored(84 * GIB);
    nothing(&lab);
    lab.sim.set_stored(86 * GIB);
    let found = only(&lab, &table::NEARLY_FULL);
    assert_eq!(found.severity, Severity::Warning);
    assert!(
        found.fix.contains("ceph osd pool set-quota rbd"),
        "{found:?}"
    );
    lab.sim.set_stored(96 * GIB);
    let found = only(&lab, &table::NEARLY_FULL);
    assert_eq!(found.severity, Severity::Failure);
}

#[test]
fn space_that_is_still_to_be_freed_is_a_note() {
    let (lab, disk) = Lab::with_disk();
    lab.run(A, |sr| sr.delete_vdi(&disk)).unwrap();
    let found = only(&lab, &table::BACKLOG);
    assert_eq!(found.severity, Severity::Note);
    lab.settle();
    nothing(&lab);
}

#[test]
fn space_that_a_foreign_snapshot_keeps_is_found() {
    let (lab, disk) = Lab::with_disk();
    let name = lab.image_name(&disk);
    let snapshot = lab.snapshot(&disk);
    lab.sim
        .snapshot_by_hand(&name, "by-hand", SnapshotKind::User);
    lab.run(A, |sr| sr.delete_vdi(&disk)).unwrap();
    lab.run(A, |sr| sr.delete_vdi(&snapshot)).unwrap();
    lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap();
    let found = among(&lab, &table::BLOCKED);
    assert!(found.fix.contains("rbd snap"), "{found:?}");
}

#[test]
fn a_worker_that_is_gone_is_found() {
    let (lab, _) = Lab::with_disk();
    let process = lab.process(A);
    let owner = sr_ceph::host::Host::owner(&process.host).clone();
    lab.sim.kill(&owner);
    let worker = serde_json::json!({
        "version": 1, "nonce": uuid::Uuid::new_v4(), "owner": owner,
        "address": "127.0.0.1:0/1", "lease_until": 1_795_262_400u64,
    });
    let worker = worker.to_string();
    lab.sim.put(&lab.catalogue(), "worker", worker.as_bytes());
    only(&lab, &table::NO_WORKER);
    assert_eq!(look(&lab, B), [], "its lease is not over for another host");
    lab.sim.advance_seconds(3600);
    assert_eq!(look(&lab, B)[0].kind, &table::NO_WORKER);
}

#[test]
fn each_health_check_that_matters_is_found() {
    let cases = [
        ("PG_AVAILABILITY", &table::PGS_INACTIVE),
        ("OSD_FULL", &table::FULL),
        ("OSD_NEARFULL", &table::NEAR_FULL),
        ("MON_CLOCK_SKEW", &table::MON_CLOCKS),
        ("OSD_DOWN", &table::DAEMONS_DOWN),
        ("SLOW_OPS", &table::SLOW_OPS),
        ("OSDMAP_FLAGS", &table::OSDMAP_FLAGS),
    ];
    for (check, kind) in cases {
        let (lab, _) = Lab::with_disk();
        lab.sim.fail_health_check("A_CHECK_OF_LATER_VERSIONS");
        nothing(&lab);
        lab.sim.fail_health_check(check);
        only(&lab, kind);
    }
}

#[test]
fn pg_upmap_primary_is_found() {
    let (lab, _) = Lab::with_disk();
    lab.sim.upmap_primary("2.1f");
    let found = only(&lab, &table::UPMAP_PRIMARY);
    assert_eq!(found.severity, Severity::Failure);
}

#[test]
fn a_crush_rule_that_kernels_lack_is_found() {
    let (lab, _) = Lab::with_disk();
    lab.sim.use_msr_rule();
    let found = only(&lab, &table::MSR_RULE);
    assert!(found.fix.starts_with("ceph osd pool set rbd crush_rule"));
}
