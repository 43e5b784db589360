//! The monitors' reports about the pool, with the fields of a real cluster's reports.

use serde_json::json;

use super::pool_state::PoolState;

pub(super) const POOL_NAME: &str = "rbd";
pub(super) const POOL_ID: i64 = 2;
const CAPACITY: u64 = 1 << 40;

pub(super) fn df(pool: &PoolState) -> Vec<u8> {
    let data: u64 = pool.images.values().map(|image| image.objects).sum();
    let objects = data + (pool.images.len() + pool.objects.len()) as u64;
    json!({
        "stats": {"total_bytes": CAPACITY, "total_avail_bytes": CAPACITY},
        "pools": [{
            "name": POOL_NAME,
            "id": POOL_ID,
            "stats": {
                "stored": pool.stored,
                "objects": objects,
                "bytes_used": pool.stored,
                // `max_avail` ignores the quota.
                "max_avail": CAPACITY.saturating_sub(pool.stored),
                "quota_objects": 0,
                "quota_bytes": pool.quota_bytes,
            },
        }],
    })
    .to_string()
    .into_bytes()
}

pub(super) fn osd_dump(pool: &PoolState) -> Vec<u8> {
    let flags = if pool.full {
        "hashpspool,full,selfmanaged_snaps,full_quota"
    } else {
        "hashpspool,selfmanaged_snaps"
    };
    let primaries = pool.upmap_primaries.iter();
    let primaries = primaries.map(|pg| json!({"pgid": pg, "primary_osd": 0}));
    json!({
        "pg_upmap_primaries": primaries.collect::<Vec<_>>(),
        "pools": [{
            "pool": POOL_ID,
            "pool_name": POOL_NAME,
            "type": 1,
            "crush_rule": 0,
            "size": 1,
            "flags_names": flags,
            "quota_max_bytes": pool.quota_bytes,
            "quota_max_objects": 0,
            "application_metadata": {"rbd": {}},
        }],
    })
    .to_string()
    .into_bytes()
}

pub(super) fn crush_rules(pool: &PoolState) -> Vec<u8> {
    let kind = if pool.has_msr_rule { 4 } else { 1 };
    json!([{"rule_id": 0, "rule_name": "replicated_rule", "type": kind}])
        .to_string()
        .into_bytes()
}

pub(super) fn health(pool: &PoolState) -> Vec<u8> {
    let failing = pool.failing.iter().map(|name| {
        let check = json!({"summary": {"message": "planted"}, "muted": false});
        (name.clone(), check)
    });
    let checks: serde_json::Map<_, _> = failing.collect();
    json!({"status": "HEALTH_WARN", "checks": checks})
        .to_string()
        .into_bytes()
}
