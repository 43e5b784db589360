//! How much room a pool has, from the monitors' own report: `ceph df detail` and `ceph osd dump`.
//!
//! Pure functions of the two replies (JSON). What they stand on, all measured:
//! - `max_avail` ignores a quota, so both bounds count, and the lower one is the room that is left.
//! - Quotas and the flags `full` and `full_quota` come from `osd dump`, which the monitors answer
//!   whether or not a manager runs.
//! - Usage comes from the manager. While it is away the monitors repeat its last report, so a pool
//!   that `df` does not list was made since, or no manager ever ran: such a pool counts as empty,
//!   and [`PoolUsage::stats_known`] says so.
//! - A quota is enforced 3 to 8 seconds late, by blocking every writer until there is room again.
//!   Hence the reserve: see [`RESERVE`].

mod report;
mod similar;

use thiserror::Error;

use crate::size::Size;

pub use self::report::{ClusterReport, PoolSummary, UsageError};
pub(crate) use self::similar::{instead_of, meant};

/// Room, in bytes, that nothing new may be started on: what eight seconds (the longest that a
/// quota was seen to lag) at 128 MiB/s write, so that what runs already has a chance to be seen
/// and helped before the pool blocks it. Independent of any disk's virtual size, since thin
/// provisioning lives from overcommitting.
///
/// A small pool keeps a sixteenth of its capacity back instead, or it could never be used.
pub const RESERVE: u64 = 1 << 30;
const RESERVE_FRACTION: u64 = 16;

/// RBD's default object size in bytes: what one object more can hold at most.
const OBJECT_SIZE: u64 = 4 << 20;

/// What a pool holds and may hold still. All sizes are bytes as users wrote them, before
/// replication or erasure coding, which is also what quotas count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUsage {
    /// The pool's name.
    pub pool: String,
    /// Bytes stored.
    pub stored: u64,
    /// RADOS objects.
    pub objects: u64,
    /// What the pool's OSDs have room for; unknown without statistics.
    pub max_avail: Option<u64>,
    /// The quota in bytes.
    pub quota_bytes: Option<u64>,
    /// The quota in RADOS objects.
    pub quota_objects: Option<u64>,
    /// Whether and why Ceph blocks the pool's writers now.
    pub full: Option<Full>,
    /// Whether `stored`, `objects` and `max_avail` come from a report; otherwise they are what a
    /// pool made a moment ago has.
    pub stats_known: bool,
    /// The pool with the images' headers, where this one holds only their data.
    headers: Option<Box<PoolUsage>>,
}

/// Why Ceph blocks a pool's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The pool reached its quota.
    Quota,
    /// The cluster's fullest OSD reached `full_ratio`.
    Cluster,
}

/// What ends a pool's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The quota in bytes.
    QuotaBytes,
    /// The quota in objects.
    QuotaObjects,
    /// The cluster's devices.
    Devices,
    /// Ceph flagged the pool as full.
    Flag(Full),
}

/// A bound, with the bytes left under it and the bytes it allows in all.
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

/// Nothing that takes room may be started in the pool.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("pool '{pool}' has no room: {}; {}", self.found(), self.remedy())]
pub struct NoRoom {
    /// The pool.
    pub pool: String,
    /// What ends its room.
    pub bound: Bound,
    /// Bytes left.
    pub left: u64,
    /// Bytes that must be left.
    pub reserve: u64,
}

impl PoolUsage {
    /// The usage of images that keep their headers in this pool and their data in `data`: sizes
    /// and quotas are the data pool's, but without room for headers there is none.
    #[must_use]
    pub fn with_data_pool(self, data: Self) -> Self {
        Self {
            headers: Some(Box::new(self)),
            ..data
        }
    }

    /// Bytes that can still be stored: the lowest of what the devices and both quotas leave, and
    /// 0 while Ceph blocks the writers. `None` when neither statistics nor a quota are known.
    ///
    /// An object left under an object quota counts as the 4 MiB that it can hold, so the room
    /// goes down to 0 with the objects instead of vanishing with the last one.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        let headers_full = self.headers.as_ref().is_some_and(|h| h.free() == Some(0));
        if headers_full {
            return Some(0);
        }
        if !self.is_known() {
            return None;
        }
        self.limits().map(|limit| limit.left).min()
    }

    /// The pool's size in bytes, as an SR reports it: always `stored + free`, so that whoever
    /// subtracts the utilisation from the size, as XAPI and its clients do, gets the room that
    /// there really is. With an object quota used up that is the bytes stored and nothing more.
    ///
    /// `None` when neither statistics nor a quota are known: whoever asks then keeps the size
    /// that was reported last.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.free().map(|free| self.stored.saturating_add(free))
    }

    /// Whether something that takes room may be started: a new disk, a clone, a snapshot, growth.
    /// How large it may become does not matter. Without statistics or a quota it may, and the
    /// cluster judges.
    ///
    /// # Errors
    /// [`NoRoom`], with the bound that is closest and the command that widens it.
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
            }),
        }
    }

    fn is_known(&self) -> bool {
        self.stats_known || self.quota_bytes.is_some() || self.quota_objects.is_some()
    }

    /// Every bound that is known. Where two leave the same, the one that an administrator can
    /// act upon comes first.
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
                .saturating_mul(OBJECT_SIZE),
            capacity: quota.saturating_mul(OBJECT_SIZE),
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

    /// What leaves no room.
    #[must_use]
    pub fn found(&self) -> String {
        let left = Size(self.left);
        let kept = match self.left {
            0 => String::new(),
            _ => format!(
                ", less than the {} kept for the disks that exist",
                Size(self.reserve)
            ),
        };
        match self.bound {
            Bound::QuotaBytes => format!("its quota leaves {left}{kept}"),
            Bound::QuotaObjects => {
                let objects = self.left / OBJECT_SIZE;
                format!("its quota leaves {objects} objects ({left}{kept})")
            }
            Bound::Devices => format!("the cluster's devices leave {left}{kept}"),
            Bound::Flag(Full::Quota) => "Ceph blocks its writers: it reached its quota".to_owned(),
            Bound::Flag(Full::Cluster) => "Ceph blocks its writers: an OSD is full".to_owned(),
        }
    }

    /// What makes room, with the command.
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
                 the pool opens again some seconds later"
            ),
            Bound::Devices | Bound::Flag(Full::Cluster) => {
                "add OSDs (ceph osd df shows which are full)".to_owned()
            }
        };
        format!("destroy VDIs, or {widen}")
    }
}
