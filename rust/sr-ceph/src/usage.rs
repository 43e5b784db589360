//! How much free space a pool has, by the monitors' own report: `ceph df detail` and `ceph osd dump`.
//!
//! Pure functions of the two replies (JSON). They depend on these facts, all measured:
//! - `max_avail` ignores a quota. So both limits count, and the lower one is the free space.
//! - Quotas and the flags `full` and `full_quota` come from `osd dump`, which the monitors return also
//!   without a ceph-mgr.
//! - Usage comes from ceph-mgr. While it does not run, the monitors repeat its last report. So a pool that
//!   `df` does not list is new, or no ceph-mgr ever ran. Such a pool counts as empty, and
//!   [`PoolUsage::stats_known`] is `false`.
//! - A quota is enforced 3 to 8 seconds late, by blocking every writer until there is free space again. Hence
//!   the reserve: see [`RESERVE`].

mod report;
mod similar;

use thiserror::Error;

use crate::size::Size;

pub use self::report::{ClusterReport, PoolSummary, UsageError};
pub(crate) use self::similar::{instead_of, meant};

/// The free space in bytes below which nothing new may be started: what eight seconds (the longest delay of a
/// quota that was measured) at 128 MiB/s write. So an administrator can act before the pool blocks running
/// VMs. It does not depend on any disk's virtual size, because thin provisioning overcommits.
///
/// A small pool reserves a sixteenth of its capacity instead: otherwise it could never be used.
pub const RESERVE: u64 = 1 << 30;
const RESERVE_FRACTION: u64 = 16;

/// What a pool holds, and what it can still hold. All sizes are bytes as users wrote them, before replication
/// or erasure coding. Quotas count the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUsage {
    /// The pool's name.
    pub pool: String,
    /// Bytes stored.
    pub stored: u64,
    /// RADOS objects.
    pub objects: u64,
    /// The free space of the pool's OSDs; unknown without statistics.
    pub max_avail: Option<u64>,
    /// The quota in bytes.
    pub quota_bytes: Option<u64>,
    /// The quota in RADOS objects.
    pub quota_objects: Option<u64>,
    /// Whether and why Ceph blocks the pool's writers now.
    pub full: Option<Full>,
    /// Whether `stored`, `objects` and `max_avail` come from a report. Otherwise they are those of a new
    /// pool.
    pub stats_known: bool,
    /// Bytes that one more object can hold at most.
    pub object_size: u64,
    /// If this is a data pool: the pool with the headers of its images.
    pub headers: Option<Box<PoolUsage>>,
}

/// Why Ceph blocks a pool's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The pool reached its quota.
    Quota,
    /// The cluster's fullest OSD reached `full_ratio`.
    Cluster,
}

/// The limit of a pool's free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The quota in bytes.
    QuotaBytes,
    /// The quota in objects.
    QuotaObjects,
    /// The cluster's raw capacity.
    Devices,
    /// Ceph flagged the pool as full.
    Flag(Full),
}

/// A limit, with the bytes left below it and the bytes that it allows in all.
struct Limit {
    bound: Bound,
    left: u64,
    capacity: u64,
}

impl Limit {
    fn reserve(&self) -> u64 {
        RESERVE.min(self.capacity / RESERVE_FRACTION)
    }
}

/// The pool has too little free space to start anything that takes space.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("pool '{pool}' has too little free space: {}; {}", self.found(), self.remedy())]
pub struct NoRoom {
    /// The pool.
    pub pool: String,
    /// The limit that is reached.
    pub bound: Bound,
    /// Bytes left.
    pub left: u64,
    /// Bytes that must be left.
    pub reserve: u64,
    /// Bytes that an object can hold.
    pub object_size: u64,
}

impl PoolUsage {
    /// Returns the bytes that can still be stored: the lowest of what the OSDs and both quotas leave, and 0
    /// while Ceph blocks the writers. `None` if neither statistics nor a quota are known.
    ///
    /// An object left under an object quota counts as what it can hold, 4 MiB by default. So the free space goes down
    /// to 0 with the objects.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        if !self.is_known() {
            return None;
        }
        // Headers are small: their pool limits nothing until it is full.
        if self
            .headers
            .as_ref()
            .is_some_and(|pool| pool.room_for_growth().is_err())
        {
            return Some(0);
        }
        self.limits().map(|limit| limit.left).min()
    }

    /// Returns the bytes stored, with those of the pool of the headers.
    #[must_use]
    pub fn used(&self) -> u64 {
        let headers = self.headers.as_ref().map_or(0, |pool| pool.used());
        self.stored.saturating_add(headers)
    }

    /// Returns the pool's size in bytes, as an SR reports it: always `used + free`. XAPI and its clients
    /// subtract the utilisation from the size, and so get the real free space. If an object quota is used up,
    /// the size is the bytes stored.
    ///
    /// `None` if neither statistics nor a quota are known: the caller keeps the size that was reported last.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.free().map(|free| self.used().saturating_add(free))
    }

    /// Returns the bytes of the free space that are kept for the disks that exist, by the lowest limit. `None`
    /// if neither statistics nor a quota are known.
    #[must_use]
    pub fn reserve(&self) -> Option<u64> {
        let limits = self.limits().filter(|_| self.is_known());
        let lowest = limits.min_by_key(|limit| limit.left);
        lowest.map(|limit| limit.reserve())
    }

    /// Checks whether anything that takes space may be started: a new disk, a clone, a snapshot, growth. Its
    /// virtual size does not matter. Without statistics or a quota it may, and the cluster decides.
    ///
    /// # Errors
    /// [`NoRoom`], with the limit that is nearest and the command that raises it.
    pub fn room_for_growth(&self) -> Result<(), NoRoom> {
        if let Some(headers) = &self.headers {
            headers.room_for_growth()?;
        }
        let short = self
            .limits()
            .filter(|limit| limit.left < limit.reserve().max(1))
            .min_by_key(|limit| limit.left);
        match short {
            None => Ok(()),
            Some(limit) => Err(NoRoom {
                pool: self.pool.clone(),
                bound: limit.bound,
                left: limit.left,
                reserve: limit.reserve(),
                object_size: self.object_size,
            }),
        }
    }

    fn is_known(&self) -> bool {
        self.stats_known || self.quota_bytes.is_some() || self.quota_objects.is_some()
    }

    /// Returns every limit that is known. If two leave the same, the one that an administrator can raise
    /// comes first.
    fn limits(&self) -> impl Iterator<Item = Limit> {
        let bytes = self.quota_bytes.map(|quota| Limit {
            bound: Bound::QuotaBytes,
            left: quota.saturating_sub(self.stored),
            capacity: quota,
        });
        let objects = self.quota_objects.map(|quota| Limit {
            bound: Bound::QuotaObjects,
            left: quota
                .saturating_sub(self.objects)
                .saturating_mul(self.object_size),
            capacity: quota.saturating_mul(self.object_size),
        });
        let devices = self.max_avail.map(|max_avail| Limit {
            bound: Bound::Devices,
            left: max_avail,
            capacity: self.stored.saturating_add(max_avail),
        });
        let flag = self.full.map(|full| Limit {
            bound: Bound::Flag(full),
            left: 0,
            capacity: 0,
        });
        [bytes, objects, devices, flag].into_iter().flatten()
    }
}

impl NoRoom {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const ID: &'static str = "SMB-C100";

    /// Returns the limit that is reached, with what it leaves.
    #[must_use]
    pub fn found(&self) -> String {
        let left = Size(self.left);
        let kept = match self.left {
            0 => String::new(),
            _ => format!(
                ", less than the reserve of {} for the disks that exist",
                Size(self.reserve)
            ),
        };
        match self.bound {
            Bound::QuotaBytes => format!("its quota leaves {left}{kept}"),
            Bound::QuotaObjects => {
                let objects = self.left / self.object_size;
                format!("its quota leaves {objects} objects ({left}{kept})")
            }
            Bound::Devices => format!("the cluster's OSDs leave {left}{kept}"),
            Bound::Flag(Full::Quota) => "Ceph blocks its writers: it reached its quota".to_owned(),
            Bound::Flag(Full::Cluster) => "Ceph blocks its writers: an OSD is full".to_owned(),
        }
    }

    /// Returns how to get free space, with the command.
    #[must_use]
    pub fn remedy(&self) -> String {
        let pool = &self.pool;
        let widen = match self.bound {
            Bound::QuotaBytes => {
                format!("raise the quota: ceph osd pool set-quota {pool} max_bytes BYTES")
            }
            Bound::QuotaObjects => {
                format!("raise the quota: ceph osd pool set-quota {pool} max_objects OBJECTS")
            }
            Bound::Flag(Full::Quota) => format!(
                "raise the quota (ceph osd pool get-quota {pool} shows it); \
                 Ceph accepts writes again some seconds later"
            ),
            Bound::Devices | Bound::Flag(Full::Cluster) => {
                "add OSDs (ceph osd df shows which are full)".to_owned()
            }
        };
        format!("destroy VDIs, or {widen}")
    }
}
