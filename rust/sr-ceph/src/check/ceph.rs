//! Checks of the cluster, as seen with this user from this host.

use std::time::Duration;

use hostdev::{Krbd, Module};
use librbd::Cluster;
use serde_json::{json, Value};
use sr::check::{CheckLine, Outcome};

use super::monitors::monitors;
use super::topics::{
    not_run, APPLICATION, CLOCK, CUT_OFF, LOCK, MGR_CAPS, MONITORS, MON_CAPS, OSD_CAPS, POOL,
    TOPICS, USAGE, USER,
};
use super::{caps, defaults, fencing, unreachable};
use crate::caps::Caps;
use crate::ceph::CephPool;
use crate::device_config::DeviceConfig;
use crate::pool::Pool;
use crate::size::Size;
use crate::usage::{instead_of, ClusterReport, PoolSummary, UsageError};

/// One line for each of [`TOPICS`].
pub(super) fn lines(config: &DeviceConfig, granted: &Caps, deadline: Duration) -> Vec<CheckLine> {
    let cluster = match crate::ceph::connect(config, deadline) {
        Ok(cluster) => cluster,
        Err(error) => return unreachable::lines(config, &granted.make(), &error),
    };
    let report = report(&cluster, granted);
    let mut lines = vec![
        monitors(&cluster, config).on(MONITORS),
        user(&cluster, config.user(), deadline).on(USER),
    ];
    match report {
        Ok(report) => {
            lines.push(caps::mon(&cluster, granted).on(MON_CAPS));
            lines.push(fencing::clock(&cluster).on(CLOCK));
            lines.push(fencing::cut_off(&cluster, &Krbd::new()).on(CUT_OFF));
            lines.push(fencing::lock(config.image_features()).on(LOCK));
            lines.extend(pool_lines(&cluster, &report, config, granted));
        }
        Err(outcome) => {
            lines.push(outcome.on(MON_CAPS));
            lines.extend(not_run(&TOPICS[lines.len()..], "fix the mon caps first"));
        }
    }
    lines
}

/// librados has authenticated the user. The kernel needs the same key, and must support its type.
fn user(cluster: &Cluster, user: &str, deadline: Duration) -> Outcome {
    let key = match cluster.key() {
        Ok(key) => key.expose().to_owned().into(),
        Err(error) => {
            return Outcome::failed(
                format!(
                    "client.{user} is authenticated, but the kernel needs its key too: {error}"
                ),
                "name the file with the key: device-config:keyring=PATH",
            )
        }
    };
    let krbd = Krbd::new();
    // Without its module the kernel cannot check the key. Another line reports the module.
    let installed = krbd.check_kernel().is_ok_and(|facts| match facts.module {
        Module::Missing(_) => false,
        Module::Loaded | Module::Loadable => krbd.load_module(deadline).is_ok(),
    });
    if !installed {
        return Outcome::Ok(format!(
            "client.{user} is authenticated; the kernel can use its key"
        ));
    }
    match krbd.try_key(user, &key, deadline) {
        Ok(()) => Outcome::Ok(format!(
            "client.{user} is authenticated; the kernel accepts its key"
        )),
        Err(hostdev::Error::Keyring { source, advice, .. }) => Outcome::failed(
            format!("client.{user} is authenticated, but the kernel refuses its key: {source}"),
            advice,
        ),
        Err(error) => Outcome::failed(error.to_string(), "see `dmesg`"),
    }
}

fn pool_lines(
    cluster: &Cluster,
    report: &ClusterReport,
    config: &DeviceConfig,
    granted: &Caps,
) -> Vec<CheckLine> {
    let pool = match pool(report, config) {
        Ok(pool) => pool,
        Err(outcome) => {
            let mut lines = vec![outcome.on(POOL)];
            let rest = [APPLICATION, USAGE, OSD_CAPS, MGR_CAPS];
            lines.extend(not_run(&rest, "fix the pool first"));
            return lines;
        }
    };
    let (found, data) = match data_pool(report, config) {
        Ok(data) => (
            defaults::pool(cluster, (&pool, config.namespace()), data.as_ref()),
            data,
        ),
        Err(outcome) => (outcome, None),
    };
    let place = (pool.name.as_str(), config.namespace());
    let found = lacks_namespace(cluster, place).unwrap_or(found);
    let enabled = match (application(&pool), data.as_ref().map(application)) {
        (Outcome::Ok(_), Some(of_data)) => of_data,
        (of_pool, _) => of_pool,
    };
    vec![
        found.on(POOL),
        enabled.on(APPLICATION),
        usage(&pool.clone().beside(data.clone())).on(USAGE),
        caps::osd(cluster, place, data.as_ref(), report, granted).on(OSD_CAPS),
        caps::mgr(cluster, place, granted).on(MGR_CAPS),
    ]
}

/// The failure of a pool that does not have the namespace. The caps are checked later.
fn lacks_namespace(cluster: &Cluster, (pool, namespace): (&str, &str)) -> Option<Outcome> {
    let open = CephPool::open(cluster.clone(), pool).and_then(|pool| pool.in_namespace(namespace));
    let error = open.ok()?.require_namespace().err()?;
    error.is_not_found().then(|| {
        Outcome::failed(
            format!("{pool} has no namespace {namespace}"),
            format!("rbd namespace create {pool}/{namespace}"),
        )
    })
}

/// The pool for the data of new images, if the device-config names one.
fn data_pool(
    report: &ClusterReport,
    config: &DeviceConfig,
) -> Result<Option<PoolSummary>, Outcome> {
    let Some(name) = config.data_pool() else {
        return Ok(None);
    };
    match report.summary(name) {
        Ok(data) if !data.overwrites => Err(Outcome::failed(
            format!("the data pool {name} is erasure coded and does not allow overwrites"),
            format!("ceph osd pool set {name} allow_ec_overwrites true"),
        )),
        Ok(data) => Ok(Some(data)),
        Err(_) => {
            let names: Vec<_> = report.pools().into_iter().map(|pool| pool.name).collect();
            Err(Outcome::failed(
                format!(
                    "the cluster has no pool {name}; it has: {}",
                    names.join(", ")
                ),
                "create it, or name another one: device-config:data_pool=NAME",
            ))
        }
    }
}

fn pool(report: &ClusterReport, config: &DeviceConfig) -> Result<PoolSummary, Outcome> {
    let list = |names: Vec<String>| match names.is_empty() {
        true => "the cluster has none for RBD".to_owned(),
        false => format!("those for RBD are: {}", names.join(", ")),
    };
    let Some(name) = config.pool() else {
        let names = report.sr_pools().into_iter().map(|pool| pool.name);
        let found = format!("none was named; {}", list(names.collect()));
        return Err(Outcome::failed(found, "device-config:pool=NAME"));
    };
    match report.summary(name) {
        Ok(summary) if summary.erasure => Err(Outcome::failed(
            format!("{name} is erasure coded, and cannot hold image headers"),
            "name a replicated pool: device-config:pool=NAME",
        )),
        Ok(summary) => Ok(summary),
        Err(UsageError::PoolMissing { candidates, .. }) => Err(Outcome::failed(
            format!(
                "the cluster has no pool {name}; {}",
                list(candidates.clone())
            ),
            instead_of(name, &candidates),
        )),
        Err(error) => Err(Outcome::failed(error.to_string(), "ceph osd dump")),
    }
}

fn application(pool: &PoolSummary) -> Outcome {
    if pool.application_rbd {
        return Outcome::Ok("rbd is enabled".to_owned());
    }
    Outcome::failed(
        format!("{} is not enabled for rbd", pool.name),
        format!("ceph osd pool application enable {} rbd", pool.name),
    )
}

fn usage(pool: &PoolSummary) -> Outcome {
    let usage = &pool.usage;
    if let Err(full) = usage.room_for_growth() {
        return Outcome::failed(full.found(), full.remedy());
    }
    let quota = match (usage.quota_bytes, usage.quota_objects) {
        (None, None) => "no quota".to_owned(),
        (Some(bytes), None) => format!("quota {}", Size(bytes)),
        (None, Some(objects)) => format!("quota {objects} objects"),
        (Some(bytes), Some(objects)) => format!("quota {} and {objects} objects", Size(bytes)),
    };
    let found = match (usage.free(), usage.total()) {
        (Some(free), Some(total)) => format!("{} free of {}, {quota}", Size(free), Size(total)),
        _ => quota,
    };
    if usage.stats_known {
        return Outcome::Ok(found);
    }
    Outcome::warning(
        format!("{found}; the cluster has no statistics of the pool yet"),
        "if this lasts, check that ceph-mgr runs: ceph -s",
    )
}

fn report(cluster: &Cluster, granted: &Caps) -> Result<ClusterReport, Outcome> {
    let ask = |command: Value| {
        let reply = cluster.mon_command(&command);
        reply.map_err(|error| caps::refusal(error, granted))
    };
    let df = ask(json!({"prefix": "df", "detail": "detail", "format": "json"}))?;
    let osd_dump = ask(json!({"prefix": "osd dump", "format": "json"}))?;
    ClusterReport::parse(&df, &osd_dump)
        .map_err(|error| Outcome::failed(error.to_string(), "ceph versions"))
}
