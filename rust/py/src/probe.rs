//! What `sr_probe` answers, in the XML that SM and its clients know.

use serde::Serialize;
use sr_ceph::ceph::CephPool;
use sr_ceph::cluster::Cluster;
use sr_ceph::device_config::DeviceConfig;
use sr_ceph::sr::probe::{find_pools, find_srs};

use crate::connection::connect;
use crate::error::{Failure, SM_GENERAL};
use crate::failures::with_advice;

/// The SRs of a pool. Element names are SM's own (`util.SRtoXML`).
#[derive(Serialize)]
#[serde(rename = "SRlist")]
struct SrList {
    #[serde(rename = "SR")]
    srs: Vec<FoundSr>,
}

#[derive(Serialize)]
struct FoundSr {
    #[serde(rename = "UUID")]
    uuid: String,
    #[serde(rename = "Size", skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    name_label: String,
    name_description: String,
}

/// The pools of a cluster that could hold an SR. All sizes in bytes.
#[derive(Serialize)]
#[serde(rename = "PoolList")]
struct PoolList {
    #[serde(rename = "Pool")]
    pools: Vec<FoundPool>,
}

#[derive(Serialize)]
struct FoundPool {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<u64>,
    used: u64,
    /// Why an SR cannot be in it with this device-config.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// With a pool: the SRs in it. Without: the pools that could hold one.
pub fn probe(config: &DeviceConfig) -> Result<String, Failure> {
    let cluster = connect(config)?;
    let Some(pool) = config.pool() else {
        let pools = find_pools(&cluster, config.user()).map_err(|e| with_advice(e, config))?;
        let pools = pools.into_iter().map(|(pool, refused)| FoundPool {
            refused,
            free: pool.usage.free(),
            quota: pool.usage.quota_bytes,
            used: pool.usage.stored,
            name: pool.name,
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
        name_label: sr.name_label,
        name_description: sr.name_description,
    });
    xml(&SrList { srs: srs.collect() })
}

fn xml(list: &impl Serialize) -> Result<String, Failure> {
    let mut text = String::from("<?xml version=\"1.0\" ?>\n");
    let mut serializer = quick_xml::se::Serializer::new(&mut text);
    serializer.indent('\t', 1);
    list.serialize(serializer).map_err(|e| Failure {
        id: Some(crate::panic::INTERNAL),
        key: SM_GENERAL,
        errno: None,
        message: format!("writing the answer to sr_probe: {e}"),
    })?;
    Ok(text)
}
