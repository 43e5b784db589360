//! The size and the free space of a pool, from replies of a real cluster (Ceph 16.2).

use sr_ceph::usage::{Bound, ClusterReport, Full, PoolSummary, PoolUsage, UsageError, RESERVE};

const MIB: u64 = 1 << 20;

macro_rules! report {
    ($moment:literal) => {
        ClusterReport::parse(
            include_bytes!(concat!("fixtures/df-", $moment, ".json")),
            include_bytes!(concat!("fixtures/osd-dump-", $moment, ".json")),
        )
        .unwrap()
    };
}

/// Returns a pool with `quota` (bytes, objects; 0 for none) in a cluster with 1 TiB of free space.
fn pool(stored: u64, objects: u64, quota: (u64, u64)) -> PoolUsage {
    let df = format!(
        r#"{{"stats":{{"total_bytes":9}},"pools":[{{"name":"p","id":7,"stats":
            {{"stored":{stored},"objects":{objects},"max_avail":{}}}}}]}}"#,
        1_u64 << 40
    );
    let dump = format!(
        r#"{{"pools":[{{"pool":7,"pool_name":"p","type":1,"flags_names":"hashpspool",
            "quota_max_bytes":{},"quota_max_objects":{}}}]}}"#,
        quota.0, quota.1
    );
    ClusterReport::parse(df.as_bytes(), dump.as_bytes())
        .unwrap()
        .pool("p")
        .unwrap()
}

#[test]
fn a_pool_without_quota_has_what_the_devices_leave() {
    let usage = report!("in-use").pool("rbd").unwrap();
    assert!(usage.stats_known);
    assert_eq!(usage.stored, 73);
    assert_eq!(usage.free(), Some(8_160_370_176));
    assert_eq!(usage.total(), Some(8_160_370_176 + 73));
    assert_eq!(usage.room_for_growth(), Ok(()));
}

#[test]
fn a_quota_is_the_size_of_the_sr() {
    let usage = report!("in-use").pool("quota").unwrap();
    assert_eq!(usage.quota_bytes, Some(64 * MIB));
    assert_eq!(usage.quota_objects, Some(1000));
    assert_eq!(usage.total(), Some(64 * MIB));
    assert_eq!(usage.free(), Some(64 * MIB - 19));
}

#[test]
fn devices_can_leave_less_than_the_quota() {
    let usage = pool(MIB, 1, (1 << 50, 0));
    assert_eq!(usage.free(), Some(1 << 40));
    assert_eq!(usage.total(), Some((1 << 40) + MIB));
}

#[test]
fn a_pool_full_by_quota_has_no_free_space_and_counts_the_excess() {
    let usage = report!("quota-full").pool("quota").unwrap();
    assert_eq!(usage.full, Some(Full::Quota));
    assert_eq!(usage.stored, 1_317_011_475);
    assert_eq!(usage.free(), Some(0));
    assert_eq!(usage.total(), Some(1_317_011_475));
    let refused = usage.room_for_growth().unwrap_err();
    assert_eq!(refused.bound, Bound::QuotaBytes);
    assert!(refused
        .to_string()
        .contains("ceph osd pool set-quota quota max_bytes"));
}

#[test]
fn the_other_pools_of_that_cluster_have_free_space() {
    let report = report!("quota-full");
    assert_eq!(report.pool("rbd").unwrap().room_for_growth(), Ok(()));
    assert_eq!(report.pool("new").unwrap().full, None);
}

#[test]
fn a_pool_made_before_the_first_report_shows_its_quota() {
    let report = report!("before-first-report");
    let usage = report.pool("quota").unwrap();
    assert!(!usage.stats_known);
    assert_eq!(usage.max_avail, None);
    assert_eq!(usage.total(), Some(64 * MIB));
    assert_eq!(usage.free(), Some(64 * MIB));
    assert_eq!(usage.room_for_growth(), Ok(()));
}

#[test]
fn a_pool_without_statistics_reports_no_sizes() {
    let usage = report!("before-first-report").pool("new").unwrap();
    assert!(!usage.stats_known);
    assert_eq!(usage.total(), None);
    assert_eq!(usage.free(), None);
    assert_eq!(usage.room_for_growth(), Ok(()));
}

#[test]
fn statistics_are_read_while_the_manager_is_down() {
    let report = report!("mgr-away");
    let usage = report.pool("rbd").unwrap();
    assert!(usage.stats_known);
    assert_eq!(usage.total(), Some(2_073_741_824));
    let made_since = report.pool("later").unwrap();
    assert!(!made_since.stats_known);
    assert_eq!(made_since.total(), Some(1024 * MIB));
}

#[test]
fn an_object_quota_limits_the_free_space() {
    let usage = pool(MIB, 3, (0, 1000));
    assert_eq!(usage.free(), Some(997 * 4 * MIB));
    let exhausted = pool(10 * MIB, 1000, (1 << 40, 1000));
    assert_eq!(exhausted.free(), Some(0));
    assert_eq!(exhausted.total(), Some(10 * MIB));
    let refused = exhausted.room_for_growth().unwrap_err();
    assert_eq!(refused.bound, Bound::QuotaObjects);
    assert!(refused.to_string().contains("max_objects"));
}

#[test]
fn a_large_pool_keeps_a_reserve_for_the_disks_that_exist() {
    let quota = 1 << 40;
    assert_eq!(
        pool(quota - RESERVE, 1, (quota, 0)).room_for_growth(),
        Ok(())
    );
    let refused = pool(quota - RESERVE + 1, 1, (quota, 0))
        .room_for_growth()
        .unwrap_err();
    assert_eq!(refused.reserve, RESERVE);
    assert!(refused.to_string().contains("1023 MiB"), "{refused}");
}

#[test]
fn a_small_pool_can_be_used_to_fifteen_sixteenths() {
    for quota in [64 * MIB, 1024 * MIB] {
        let edge = quota / 16 * 15;
        assert_eq!(pool(edge, 1, (quota, 0)).room_for_growth(), Ok(()));
        assert!(pool(edge + 1, 1, (quota, 0)).room_for_growth().is_err());
    }
    assert!(pool(1, 1, (1, 0)).room_for_growth().is_err());
}

#[test]
fn only_replicated_pools_for_rbd_can_hold_an_sr() {
    let report = report!("quota-full");
    let names: Vec<_> = report.sr_pools().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["rbd", "quota", "new"]);
    let erasure = report.summary("ecdata").unwrap();
    assert!(erasure.application_rbd && erasure.erasure);
    assert!(!report.summary("bare").unwrap().application_rbd);
}

#[test]
fn a_pool_that_no_device_config_can_name_holds_no_sr() {
    let report = report!("quota-full");
    let pool = report.summary("rbd").unwrap();
    for (name, can_hold) in [
        ("vms", true),
        ("a b", false),
        ("a/b", false),
        ("a@b", false),
        ("-a", false),
    ] {
        let pool = PoolSummary {
            name: name.to_owned(),
            ..pool.clone()
        };
        assert_eq!(pool.can_hold_sr(), can_hold, "{name}");
    }
}

#[test]
fn a_missing_pool_is_reported_with_the_pools_that_exist() {
    let error = report!("in-use").pool("vms").unwrap_err();
    assert!(matches!(error, UsageError::PoolMissing { .. }));
    let text = error.to_string();
    assert!(text.contains("rbd, quota, new"), "{text}");
    assert!(text.contains("ceph osd pool create vms"), "{text}");
}

#[test]
fn a_reply_that_is_cut_short_is_an_error_not_an_empty_pool() {
    let whole = include_bytes!("fixtures/df-in-use.json");
    let dump = include_bytes!("fixtures/osd-dump-in-use.json");
    let cut = ClusterReport::parse(&whole[..whole.len() / 2], dump).unwrap_err();
    assert!(cut.to_string().contains("'df detail'"), "{cut}");
    assert!(ClusterReport::parse(whole, b"{}").is_err());
}

#[test]
fn an_object_left_counts_as_the_object_size_of_the_sr() {
    let usage = PoolUsage {
        object_size: MIB,
        ..pool(10 * MIB, 90, (0, 100))
    };
    assert_eq!(usage.free(), Some(10 * MIB));
    let full = PoolUsage {
        objects: 99,
        ..usage
    };
    let text = full.room_for_growth().unwrap_err().to_string();
    assert!(text.contains("leaves 1 objects (1 MiB"), "{text}");
}

#[test]
fn an_sr_with_a_data_pool_has_the_free_space_of_the_data_pool() {
    let data = pool(10 * MIB, 3, (1 << 30, 0));
    let headers = pool(MIB, 1, (1 << 20 << 10, 0));
    let sr = PoolUsage {
        headers: Some(Box::new(headers)),
        ..data
    };
    assert_eq!(sr.used(), 11 * MIB);
    assert_eq!(sr.free(), Some((1 << 30) - 10 * MIB));
    assert_eq!(sr.total(), Some((1 << 30) + MIB));
    assert_eq!(sr.room_for_growth(), Ok(()));
}

#[test]
fn nothing_grows_if_the_pool_of_the_headers_is_full() {
    let sr = PoolUsage {
        headers: Some(Box::new(pool(MIB, 1, (MIB, 0)))),
        ..pool(0, 0, (0, 0))
    };
    assert_eq!(sr.free(), Some(0));
    assert_eq!(sr.room_for_growth().unwrap_err().bound, Bound::QuotaBytes);
}
