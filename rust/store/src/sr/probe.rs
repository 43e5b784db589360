//! Finding the SRs of a pool.

use uuid::Uuid;

use crate::catalogue::{catalogue_object, DIRECTORY, SR_KEY};
use crate::ceph;
use crate::cluster::Cluster;
use crate::error::{Context, Result};
use crate::record::{Record, SrRecord};
use crate::usage::{ClusterReport, PoolSummary};

/// The SRs that live in the pool. A pool without a directory holds none.
pub fn find_srs(cluster: &dyn Cluster) -> Result<Vec<SrRecord>> {
    let directory = match cluster.read(DIRECTORY, "sr.") {
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
        let mut entries = match cluster.get(&catalogue_object(&uuid), &[SR_KEY]) {
            Err(e) if e.is_not_found() => {
                log::info!("SR {uuid} was never completely created, or is deleted");
                continue;
            }
            other => other.doing(&doing)?,
        };
        let bytes = entries.remove(SR_KEY).unwrap_or_default();
        match SrRecord::parse(&bytes) {
            Ok(record) => found.push(record),
            // The others can still be found; attaching this one says the same again.
            Err(e) => log::error!("the catalogue of SR {uuid} is damaged at {SR_KEY}: {e}"),
        }
    }
    Ok(found)
}

/// The pools of a cluster that could hold an SR.
pub fn find_pools(cluster: &librbd::Cluster) -> Result<Vec<PoolSummary>> {
    let df = ceph::df(cluster).doing("asking how full the pools are")?;
    let dump = ceph::osd_dump(cluster).doing("asking for the pools and their quotas")?;
    Ok(ClusterReport::parse(&df, &dump)?.sr_pools())
}
