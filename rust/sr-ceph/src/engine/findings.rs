//! The findings of this SR type as those of every SR type.

use std::path::Path;

use sr::engine::{FoundSr, Location, Look, Pending, Place, Probe, Scan, State, Step, Unit, Usage};
use sr::finding::{table, Finding, Severity};
use uuid::Uuid;

use crate::ceph::CephPool;
use crate::device_config::{is_namespace_name, DeviceConfig};
use crate::error::Result;
use crate::pool::Pool;
use crate::sr::probe::{find_pools, find_srs};
use crate::sr::reclaim::{self, Kind, Report};
use crate::sr::scan;
use crate::sr::update::pool_summary;
use crate::sr::utilisation::When;
use crate::usage::PoolUsage;
use crate::CephSr;

/// `allocated`: the sum of the virtual sizes of the SR's VDIs.
pub(super) fn usage(usage: &PoolUsage, allocated: u64) -> Usage {
    Usage {
        allocated,
        total: usage.total(),
        used: usage.used(),
    }
}

impl From<scan::Scan> for Scan {
    fn from(scan: scan::Scan) -> Self {
        Scan {
            disks_of_snapshots: scan.disks_of_snapshots().into_iter().collect(),
            usage: usage(&scan.usage, scan.virtual_allocation()),
            vdis: scan.vdis,
        }
    }
}

/// The SRs in a pool, or in its namespace. For a pool, also those in the namespaces that the user may read.
pub(super) fn srs(pool: &CephPool) -> Result<Probe> {
    let size = pool_summary(pool)?.usage.total();
    let mut srs = srs_in(pool, size)?;
    if pool.namespace().is_empty() {
        for namespace in namespaces(pool) {
            let found = pool.clone().in_namespace(&namespace);
            match found.and_then(|place| srs_in(&place, size)) {
                Ok(found) => srs.extend(found),
                Err(e) => log::warn!("namespace {namespace} was not looked at: {e}"),
            }
        }
    }
    Ok(Probe::Srs(srs))
}

fn srs_in(place: &CephPool, size: Option<u64>) -> Result<Vec<FoundSr>> {
    let namespace = Some(place.namespace()).filter(|name| !name.is_empty());
    let srs = find_srs(place)?.into_iter().map(|sr| FoundSr {
        uuid: sr.uuid,
        namespace: namespace.map(ToOwned::to_owned),
        size,
        name_label: sr.name_label,
        name_description: sr.name_description,
    });
    Ok(srs.collect())
}

/// The namespaces of a pool that a device-config can name.
fn namespaces(pool: &CephPool) -> Vec<String> {
    let mut names = pool.namespaces().unwrap_or_else(|e| {
        log::warn!("the namespaces of the pool cannot be listed: {e}");
        Vec::new()
    });
    names.retain(|name| is_namespace_name(name));
    names
}

/// The pools of a cluster that can hold an SR.
pub(super) fn pools(cluster: &librbd::Cluster, user: &str, namespace: &str) -> Result<Probe> {
    let pools = find_pools(cluster, user, namespace)?.into_iter();
    let pools = pools.map(|(pool, refused)| Place {
        refused,
        free: pool.usage.free(),
        quota: pool.usage.quota_bytes,
        used: pool.usage.used(),
        name: pool.name,
    });
    Ok(Probe::Places(pools.collect()))
}

/// Whether the check has not come as far as the pool.
pub(super) fn is_out_of_reach(found: &[Finding]) -> bool {
    let mut pool = found.iter().filter(|finding| finding.kind == &table::POOL);
    pool.any(|finding| finding.severity == Severity::NotRun)
}

/// The location with the user of a device-config.
pub(super) fn of_user(location: Location, config: &DeviceConfig) -> Location {
    let path = |path: Option<&Path>| path.map(|path| path.display().to_string());
    Location {
        user: config.user().to_owned(),
        conf: path(config.ceph_conf()),
        keyring: path(config.keyring()),
        ..location
    }
}

/// Frees space, and counts what the disks take.
pub(super) fn reclaim(
    sr: &CephSr<'_>,
    background: bool,
    report: &mut dyn FnMut(&Step<'_>),
) -> Result<usize> {
    let failed = sr.reclaim(|pending, done| report(&step(pending, &done)))?;
    let mut progress = |done, total| {
        let (object, state) = ("what the disks take", State::Counting { done, total });
        report(&Step { object, state });
    };
    let when = match background {
        true => When::IfDue,
        false => When::Now,
    };
    let counted = sr.count_utilisation(when, &mut progress)?;
    if !(counted && background) {
        return Ok(failed);
    }
    // What was deleted meanwhile has started no worker.
    sr.reclaim(|pending, done| report(&step(pending, &done)))
}

/// How far the work on an image is.
pub(super) fn step<'a>(pending: &'a reclaim::Pending, report: &Report<'_>) -> Step<'a> {
    let state = match report {
        Report::Progress(done, total) => State::Progress {
            done: *done,
            total: *total,
            unit: match pending.kind {
                Kind::Hidden { .. } => Unit::Bytes,
                _ => Unit::Objects,
            },
        },
        Report::Done => State::Done(pending.kind.done()),
        Report::Failed(error) => State::Failed(error.to_string()),
        Report::Waits => {
            let waits_for = pending.waits_for.as_ref().map(ToString::to_string);
            State::Waits(waits_for.unwrap_or_default())
        }
    };
    Step {
        object: &pending.image.name,
        state,
    }
}

impl From<reclaim::Pending> for Pending {
    fn from(pending: reclaim::Pending) -> Self {
        Pending {
            object: pending.image.name,
            work: pending.kind.to_string(),
            waits_for: pending.waits_for.map(|waits_for| waits_for.to_string()),
        }
    }
}

/// What is seen of an SR that cannot be read.
pub(super) fn unreadable(sr: &Uuid, error: &sr::engine::Error) -> Look {
    let mut found = sr::finding::unreadable(sr, error);
    found.fix = format!("see why: smblock check {sr}");
    Look {
        findings: vec![found],
        looked_at: vec![&sr::alarm::table::UNREADABLE],
        ..Look::default()
    }
}
