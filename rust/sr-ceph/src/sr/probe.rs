//! Finding the SRs of a pool.

use uuid::Uuid;

use crate::caps::Caps;
use crate::catalogue::{catalogue_object, DIRECTORY, SR_KEY};
use crate::ceph;
use crate::device_config::DeviceConfig;
use crate::error::{Context, Result};
use crate::pool::{Pool, PoolError};
use crate::record::{Record, SrRecord};
use crate::usage::{ClusterReport, PoolSummary};

/// Returns the SRs in the pool. A pool without a directory has none.
pub fn find_srs(pool: &dyn Pool) -> Result<Vec<SrRecord>> {
    let directory = match pool.read(DIRECTORY, "sr.") {
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        other => other.doing("reading the pool's directory of SRs")?,
    };
    let mut found = Vec::new();
    for key in directory.keys() {
        let Some(uuid) = key.strip_prefix("sr.").and_then(|u| u.parse::<Uuid>().ok()) else {
            log::error!("{DIRECTORY}: {key} is not an SR's key");
            continue;
        };
        let doing = format!("reading the catalogue of SR {uuid}");
        let mut entries = match pool.get(&catalogue_object(&uuid), &[SR_KEY]) {
            Err(e) if e.is_not_found() => {
                log::info!("SR {uuid}: its creation or its deletion did not finish");
                continue;
            }
            other => other.doing(&doing)?,
        };
        let bytes = entries.remove(SR_KEY).unwrap_or_default();
        match SrRecord::parse(&bytes) {
            Ok(record) => found.push(record),
            // The others can still be found. Attaching this SR returns the same error.
            Err(e) => log::error!("the catalogue of SR {uuid} {} at {SR_KEY}: {e}", e.state()),
        }
    }
    Ok(found)
}

/// Returns the pools of a cluster that are enabled for RBD, each with the reason why it cannot hold an SR.
pub fn find_pools(
    cluster: &librbd::Cluster,
    user: &str,
    namespace: &str,
) -> Result<Vec<(PoolSummary, Option<String>)>> {
    let df = ceph::df(cluster).doing("asking how full the pools are")?;
    let dump = ceph::osd_dump(cluster).doing("asking for the pools and their quotas")?;
    let pools = ClusterReport::parse(&df, &dump)?.rbd_pools();
    Ok(reasons_against(pools, |pool| {
        may_use(cluster, user, pool, namespace)
    }))
}

/// Returns why a pool cannot be used. `may_use` is not called again after it has timed out.
fn reasons_against(
    pools: Vec<PoolSummary>,
    may_use: impl Fn(&str) -> std::result::Result<(), Refusal>,
) -> Vec<(PoolSummary, Option<String>)> {
    let mut waited = false;
    let mut judge = |pool: &PoolSummary| {
        let named = [("pool".to_owned(), pool.name.clone())];
        if let Err(error) = DeviceConfig::parse(named) {
            return Some(error.to_string());
        }
        if waited {
            return Some("not looked at: the OSDs of another pool did not reply".to_owned());
        }
        let refusal = may_use(&pool.name).err()?;
        waited = refusal.waited;
        Some(refusal.text)
    };
    let pools = pools.into_iter();
    pools
        .map(|pool| (judge(&pool), pool))
        .map(|(why, pool)| (pool, why))
        .collect()
}

/// Why a user cannot use a pool.
struct Refusal {
    text: String,
    waited: bool,
}

fn may_use(
    cluster: &librbd::Cluster,
    user: &str,
    pool: &str,
    namespace: &str,
) -> std::result::Result<(), Refusal> {
    let found = cluster
        .pool(pool)
        .and_then(|open| open.in_namespace(namespace))
        .and_then(|open| open.object_exists(DIRECTORY));
    let error = match found {
        Ok(_) => return Ok(()),
        Err(error) => PoolError::from(error),
    };
    let text = match Caps::of(user, pool, namespace).lacks(&error) {
        Some(lacks) => lacks,
        None => error.to_string(),
    };
    Err(Refusal {
        text,
        waited: error.is_outcome_unknown(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pools_that_cannot_hold_an_sr_have_the_reason() {
        let names = ["vms", "a b", "others", "silent", "last"];
        let pools = names.iter().enumerate().map(|(id, name)| {
            format!(
                r#"{{"pool":{id},"pool_name":"{name}","type":1,"flags_names":"","quota_max_bytes":0,
                "quota_max_objects":0,"application_metadata":{{"rbd":{{}}}}}}"#
            )
        });
        let dump = format!(r#"{{"pools":[{}]}}"#, pools.collect::<Vec<_>>().join(","));
        let df = br#"{"stats":{"total_bytes":0},"pools":[]}"#;
        let report = ClusterReport::parse(df, dump.as_bytes()).unwrap();
        let reasons_against = reasons_against(report.rbd_pools(), |pool| match pool {
            "vms" => Ok(()),
            _ => Err(Refusal {
                text: format!("no cap for {pool}"),
                waited: pool == "silent",
            }),
        });
        let why: Vec<_> = reasons_against
            .iter()
            .map(|(_, why)| why.as_deref())
            .collect();
        assert_eq!(why[0], None);
        assert!(why[1].unwrap().contains("device-config:pool"), "{why:?}");
        assert_eq!(
            why[2..4],
            [Some("no cap for others"), Some("no cap for silent")]
        );
        assert!(why[4].unwrap().contains("not looked at"), "{why:?}");
    }
}
