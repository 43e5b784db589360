//! The pool that an SR was in when this host plugged it. It shows whether a pool was renamed, or deleted and
//! made again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, PoolGone};
use crate::host::Host;
use crate::pool::spec::pool_of;
use crate::CephSr;

/// The pool that an SR was in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The cluster's fsid.
    pub fsid: String,
    /// The pool's id, which stays when the pool is renamed.
    pub pool_id: i64,
    /// The pool's name then.
    pub pool: String,
}

fn note_name(sr: &Uuid) -> String {
    format!("sr.{sr}")
}

impl Place {
    /// Returns where this host has found the SR before.
    pub fn of(host: &dyn Host, sr: &Uuid) -> Option<Self> {
        let noted = host.noted(&note_name(sr)).unwrap_or_else(|e| {
            log::warn!("SR {sr}: {e}");
            None
        });
        serde_json::from_str(&noted?).ok()
    }

    /// Returns the error with what happened to the pool. `now`: the cluster's fsid, and its pools by id.
    #[must_use]
    pub fn explain(&self, sr: &Uuid, error: Error, now: (&str, &BTreeMap<i64, String>)) -> Error {
        let (fsid, pools) = now;
        let pool = match &error {
            Error::PoolMissing { pool, .. } | Error::SrMissing { pool, .. } => {
                pool_of(pool).to_owned()
            }
            _ => return error,
        };
        if fsid != self.fsid || pools.is_empty() {
            return error;
        }
        match pools.get(&self.pool_id) {
            Some(same) if *same == pool => error,
            Some(renamed) => PoolGone::Renamed {
                sr: *sr,
                id: self.pool_id,
                pool,
                now: renamed.clone(),
            }
            .into(),
            None => PoolGone::Deleted {
                sr: *sr,
                id: self.pool_id,
                was: self.pool.clone(),
                present: pools.values().cloned().collect::<Vec<_>>().join(", "),
            }
            .into(),
        }
    }
}

impl CephSr<'_> {
    /// Notes where the SR is. Without the note, later errors have less detail.
    pub(crate) fn note_place(&self) {
        let noted = self.pool.fsid().map(|fsid| Place {
            fsid,
            pool_id: self.pool.pool_id(),
            pool: self.pool.pool_name().to_owned(),
        });
        let place = match noted {
            Ok(place) => place,
            Err(e) => {
                log::warn!("SR {}: {e}", self.sr);
                return;
            }
        };
        if Place::of(self.host, &self.sr).as_ref() == Some(&place) {
            return;
        }
        let text = serde_json::to_string(&place).unwrap_or_default();
        if let Err(e) = self.host.note(&note_name(&self.sr), Some(&text)) {
            log::warn!("SR {}: {e}", self.sr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(pools: &[(i64, &str)], fsid: &str, error: fn(String) -> Error) -> String {
        let place = Place {
            fsid: "f".to_owned(),
            pool_id: 7,
            pool: "vms".to_owned(),
        };
        let pools = pools.iter().map(|(id, name)| (*id, (*name).to_owned()));
        let error = error("vms".to_owned());
        place
            .explain(&Uuid::nil(), error, (fsid, &pools.collect()))
            .to_string()
    }

    fn no_pool(pool: String) -> Error {
        Error::PoolMissing {
            pool,
            present: BTreeMap::from([(9, "other".to_owned())]),
        }
    }

    fn no_sr(pool: String) -> Error {
        Error::SrMissing {
            sr: Uuid::nil(),
            pool,
        }
    }

    #[test]
    fn a_renamed_pool_is_found_by_its_id() {
        for error in [no_pool, no_sr] {
            let text = explained(&[(7, "vms-renamed"), (8, "vms")], "f", error);
            assert!(
                text.contains("the pool with id 7 of this SR is now called vms-renamed"),
                "{text}"
            );
            assert!(
                text.contains("ceph osd pool rename vms-renamed vms"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_new_pool_of_the_same_name_is_not_the_deleted_one() {
        let text = explained(&[(8, "vms")], "f", no_sr);
        assert!(text.contains("pool vms with id 7"), "{text}");
        assert!(text.contains("was deleted"), "{text}");
    }

    #[test]
    fn another_cluster_or_the_same_pool_changes_no_error() {
        for (pools, fsid) in [(&[(7, "x")][..], "g"), (&[(7, "vms")][..], "f")] {
            let text = explained(pools, fsid, no_sr);
            assert!(text.contains("holds no SR"), "{text}");
        }
    }
}
