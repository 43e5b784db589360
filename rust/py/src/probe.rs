//! What `sr_probe` answers, in the XML that SM and its clients know.

use serde::Serialize;
use sr_ceph::ceph::CephPool;
use sr_ceph::cluster::Cluster;
use sr_ceph::device_config::DeviceConfig;
use sr_ceph::sr::probe::{find_pools, find_srs};

use crate::connection::connect;
use crate::error::{Failure, SM_GENERAL};
use crate::failures::with_advice;
use crate::text::for_xml;

mod xml;

use self::xml::{FoundPool, FoundSr, PoolList, SrList};

/// With a pool: the SRs in it. Without: the pools that could hold one.
pub fn probe(config: &DeviceConfig) -> Result<String, Failure> {
    let cluster = connect(config)?;
    let Some(pool) = config.pool() else {
        let pools = find_pools(&cluster, config.user()).map_err(|e| with_advice(e, config))?;
        let pools = pools.into_iter().map(|(pool, refused)| FoundPool {
            refused: refused.map(|text| for_xml(&text).into_owned()),
            free: pool.usage.free(),
            quota: pool.usage.quota_bytes,
            used: pool.usage.stored,
            name: for_xml(&pool.name).into_owned(),
        });
        return xml(&PoolList {
            pools: pools.collect(),
        });
    };
    let pool = CephPool::open(cluster, pool)?;
    let size = sr_ceph::sr::update::pool_summary(&pool)?.usage.total();
    let srs = find_srs(&pool as &dyn Cluster).map_err(|e| with_advice(e, config))?;
    let srs = srs.into_iter().map(|sr| FoundSr {
        uuid: sr.uuid.to_string(),
        size,
        name_label: for_xml(&sr.name_label).into_owned(),
        name_description: for_xml(&sr.name_description).into_owned(),
    });
    xml(&SrList { srs: srs.collect() })
}

fn xml(list: &impl Serialize) -> Result<String, Failure> {
    xml::write(list).map_err(|e| Failure {
        key: SM_GENERAL,
        errno: None,
        message: format!("writing the answer to sr_probe: {e}"),
    })
}
