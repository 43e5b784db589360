//! The monitors' replies: the parts that this driver reads.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use super::{instead_of, Full, PoolUsage};
use crate::device_config::is_pool_name;
use crate::image_format::Layout;

/// `ceph df detail` and `ceph osd dump` of one cluster, taken one after the other.
#[derive(Debug, Clone)]
pub struct ClusterReport {
    df: Df,
    osd_dump: OsdDump,
}

/// A pool, for an administrator who looks for one that can hold an SR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSummary {
    /// The pool's name.
    pub name: String,
    /// The pool's id.
    pub id: i64,
    /// Whether `ceph osd pool application enable POOL rbd` was done.
    pub application_rbd: bool,
    /// Whether the pool is erasure coded: it can hold images' data, but no headers and no SR.
    pub erasure: bool,
    /// Whether a part of an object can be written: an erasure-coded pool must allow it, to hold images' data.
    pub overwrites: bool,
    /// How full it is.
    pub usage: PoolUsage,
}

impl PoolSummary {
    /// Returns the same pool, whose next objects have this size in bytes.
    #[must_use]
    pub fn with_objects_of(mut self, size: u64) -> Self {
        self.usage.object_size = size;
        self
    }

    /// Returns the same pool with the usage of its data pool, if it has one.
    #[must_use]
    pub fn beside(self, data: Option<PoolSummary>) -> Self {
        let Some(data) = data else {
            return self;
        };
        let headers = Some(Box::new(self.usage));
        let usage = PoolUsage {
            headers,
            ..data.usage
        };
        PoolSummary { usage, ..self }
    }

    /// Whether an SR can be made in the pool now, and a device-config can name it.
    #[must_use]
    pub fn can_hold_sr(&self) -> bool {
        self.application_rbd && !self.erasure && is_pool_name(&self.name)
    }
}

/// Why a pool's usage is not known.
#[derive(Debug, Error)]
pub enum UsageError {
    /// The cluster does not have this pool.
    #[error(
        "the cluster has no pool '{pool}'; its pools for RBD: {}; {}",
        if .candidates.is_empty() { "none".to_owned() } else { .candidates.join(", ") },
        instead_of(.pool, .candidates)
    )]
    PoolMissing {
        /// The pool that was asked for.
        pool: String,
        /// The pools that could hold an SR.
        candidates: Vec<String>,
    },
    /// A reply without the format that every release since Nautilus has.
    ///
    /// Fix: Compare `ceph versions` with [the supported releases](compatibility.md).
    #[error("the monitors' reply to '{command}' cannot be read: {source}")]
    Reply {
        /// The command.
        command: &'static str,
        /// What could not be parsed.
        source: serde_json::Error,
    },
}

impl UsageError {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::PoolMissing { .. } => "SMB-C101",
            Self::Reply { .. } => "SMB-C102",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Df {
    stats: DfCluster,
    pools: Vec<DfPool>,
}

#[derive(Debug, Clone, Deserialize)]
struct DfCluster {
    total_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct DfPool {
    id: i64,
    stats: DfPoolStats,
}

#[derive(Debug, Clone, Deserialize)]
struct DfPoolStats {
    stored: u64,
    objects: u64,
    max_avail: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct OsdDump {
    pools: Vec<DumpPool>,
    #[serde(default)]
    osds: Vec<DumpOsd>,
    #[serde(default)]
    flags: String,
}

#[derive(Debug, Clone, Deserialize)]
struct DumpOsd {
    up: u8,
}

#[derive(Debug, Clone, Deserialize)]
struct DumpPool {
    #[serde(rename = "pool")]
    id: i64,
    pool_name: String,
    #[serde(rename = "type")]
    kind: u8,
    flags_names: String,
    /// 0: no quota, as in `quota_max_objects`.
    quota_max_bytes: u64,
    quota_max_objects: u64,
    #[serde(default)]
    application_metadata: BTreeMap<String, serde::de::IgnoredAny>,
}

/// `pg_pool_t::TYPE_ERASURE`
const TYPE_ERASURE: u8 = 3;

impl ClusterReport {
    /// Reads the two replies, each with `format=json`.
    ///
    /// # Errors
    /// [`UsageError::Reply`]: it cannot be parsed.
    pub fn parse(df: &[u8], osd_dump: &[u8]) -> Result<Self, UsageError> {
        let reply = |command| move |source| UsageError::Reply { command, source };
        Ok(Self {
            df: serde_json::from_slice(df).map_err(reply("df detail"))?,
            osd_dump: serde_json::from_slice(osd_dump).map_err(reply("osd dump"))?,
        })
    }

    /// Returns the usage of the pool with this name.
    ///
    /// # Errors
    /// [`UsageError::PoolMissing`], with the pools that exist.
    pub fn pool(&self, name: &str) -> Result<PoolUsage, UsageError> {
        self.find(name).map(|pool| self.usage(pool))
    }

    /// Returns what an administrator sees of the pool with this name.
    ///
    /// # Errors
    /// [`UsageError::PoolMissing`], with the pools that exist.
    pub fn summary(&self, name: &str) -> Result<PoolSummary, UsageError> {
        self.find(name).map(|pool| self.summarise(pool))
    }

    /// Returns every pool of the cluster, for any application.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolSummary> {
        let pools = self.osd_dump.pools.iter();
        pools.map(|pool| self.summarise(pool)).collect()
    }

    /// Returns the pools in which an SR can be made now.
    #[must_use]
    pub fn sr_pools(&self) -> Vec<PoolSummary> {
        let mut pools = self.pools();
        pools.retain(PoolSummary::can_hold_sr);
        pools
    }

    /// Returns the replicated pools for RBD, also those that no device-config can name.
    #[must_use]
    pub fn rbd_pools(&self) -> Vec<PoolSummary> {
        let mut pools = self.pools();
        pools.retain(|pool| pool.application_rbd && !pool.erasure);
        pools
    }

    /// Returns how many OSDs are up, and how many there are.
    #[must_use]
    pub fn osds(&self) -> (usize, usize) {
        let osds = &self.osd_dump.osds;
        (osds.iter().filter(|osd| osd.up != 0).count(), osds.len())
    }

    /// Returns the flag that stops the I/O of all clients, if it is set.
    #[must_use]
    pub fn pause(&self) -> Option<&str> {
        let mut flags = self.osd_dump.flags.split(',');
        flags.find(|flag| matches!(*flag, "pauserd" | "pausewr"))
    }

    fn find(&self, name: &str) -> Result<&DumpPool, UsageError> {
        let mut pools = self.osd_dump.pools.iter();
        pools
            .find(|pool| pool.pool_name == name)
            .ok_or_else(|| UsageError::PoolMissing {
                pool: name.to_owned(),
                candidates: self.sr_pools().into_iter().map(|pool| pool.name).collect(),
            })
    }

    fn summarise(&self, pool: &DumpPool) -> PoolSummary {
        PoolSummary {
            name: pool.pool_name.clone(),
            id: pool.id,
            application_rbd: pool.application_metadata.contains_key("rbd"),
            erasure: pool.kind == TYPE_ERASURE,
            overwrites: pool.kind != TYPE_ERASURE || pool.has("ec_overwrites"),
            usage: self.usage(pool),
        }
    }

    fn usage(&self, pool: &DumpPool) -> PoolUsage {
        let quota_bytes = (pool.quota_max_bytes != 0).then_some(pool.quota_max_bytes);
        let full = pool.full();
        let stats = self.stats(pool.id);
        // A full pool without a report holds what its quota allows.
        let unreported = full.and(quota_bytes).unwrap_or(0);
        PoolUsage {
            pool: pool.pool_name.clone(),
            stored: stats.map_or(unreported, |stats| stats.stored),
            objects: stats.map_or(0, |stats| stats.objects),
            max_avail: stats.map(|stats| stats.max_avail),
            quota_bytes,
            quota_objects: (pool.quota_max_objects != 0).then_some(pool.quota_max_objects),
            full,
            stats_known: stats.is_some(),
            object_size: Layout::DEFAULT.object_size,
            headers: None,
        }
    }

    /// A pool's statistics. `None`: ceph-mgr has not reported any yet. Then the monitors list no pool, or the
    /// whole cluster with nothing in it.
    fn stats(&self, id: i64) -> Option<&DfPoolStats> {
        if self.df.stats.total_bytes == 0 {
            return None;
        }
        let pool = self.df.pools.iter().find(|pool| pool.id == id)?;
        Some(&pool.stats)
    }
}

impl DumpPool {
    fn has(&self, flag: &str) -> bool {
        self.flags_names.split(',').any(|name| name == flag)
    }

    fn full(&self) -> Option<Full> {
        // A pool over its quota has both flags.
        if self.has("full_quota") {
            Some(Full::Quota)
        } else {
            self.has("full").then_some(Full::Cluster)
        }
    }
}
