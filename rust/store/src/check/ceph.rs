//! What the cluster has to bring, as seen with this user from this host.

use std::time::Duration;

use hostdev::{Krbd, Module};
use librbd::{Cluster, Error};
use nix::errno::Errno;
use serde_json::{json, Value};

use super::monitors::monitors;
use super::{fencing, not_run, CheckLine, Outcome};
use crate::device_config::DeviceConfig;
use crate::usage::{ClusterReport, PoolSummary, UsageError};

const MONITORS: &str = "monitors";
const USER: &str = "user";
const MON_CAPS: &str = "mon caps";
const CLOCK: &str = "clock";
const CUT_OFF: &str = "blocklist";
const LOCK: &str = "exclusive lock";
const POOL: &str = "pool";
const APPLICATION: &str = "pool application";
const ROOM: &str = "pool usage";
const OSD_CAPS: &str = "osd caps";
const MGR_CAPS: &str = "mgr caps";

/// Every part, in the order of the report.
pub(super) const TOPICS: [&str; 11] = [
    MONITORS,
    USER,
    MON_CAPS,
    CLOCK,
    CUT_OFF,
    LOCK,
    POOL,
    APPLICATION,
    ROOM,
    OSD_CAPS,
    MGR_CAPS,
];

/// One line for each of [`TOPICS`].
pub(super) fn lines(config: &DeviceConfig, deadline: Duration) -> Vec<CheckLine> {
    let cluster = match crate::ceph::connect(config, deadline) {
        Ok(cluster) => cluster,
        Err(error) => return unreachable(config, &error),
    };
    let report = report(&cluster, config);
    let mut lines = vec![
        monitors(&cluster, config).on(MONITORS),
        user(&cluster, config.user(), deadline).on(USER),
    ];
    match report {
        Ok(report) => {
            lines.push(mon_caps(&cluster, config).on(MON_CAPS));
            lines.push(fencing::clock(&cluster).on(CLOCK));
            lines.push(fencing::cut_off(&cluster, &Krbd::new()).on(CUT_OFF));
            lines.push(fencing::lock(config.image_features()).on(LOCK));
            lines.extend(pool_lines(&cluster, &report, config));
        }
        Err(outcome) => {
            lines.push(outcome.on(MON_CAPS));
            lines.extend(not_run(&TOPICS[lines.len()..], "the mon caps come first"));
        }
    }
    lines
}

/// The monitors refused the user, or there was nobody to ask, or no key to ask with.
fn unreachable(config: &DeviceConfig, error: &crate::Error) -> Vec<CheckLine> {
    let user = config.user();
    let found = match error {
        crate::Error::Unreachable { source } => source.to_string(),
        other => other.to_string(),
    };
    let no_entry = || {
        let keyring = config.keyring().map_or_else(
            || format!("/etc/ceph/ceph.client.{user}.keyring"),
            |path| path.display().to_string(),
        );
        let make = grant("get-or-create", config);
        let remedy = format!(
            "on a node of the cluster: ceph auth get client.{user}; put what it prints into \
             {keyring} here, mode 0600. If there is no such user: {make}"
        );
        Outcome::failed(&found, remedy).on(USER)
    };
    let mut lines = match error.errno().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => {
            let monitors = Outcome::Ok("they answer".to_owned());
            vec![monitors.on(MONITORS), no_entry()]
        }
        Some(Errno::ENOENT | Errno::EOPNOTSUPP) => {
            let mut lines = not_run(&[MONITORS], "they were not asked");
            lines.push(no_entry());
            lines
        }
        _ => vec![Outcome::failed(
            found,
            "compare mon_host (ceph.conf or device-config) with 'ceph mon dump' on a node of the \
             cluster; open ports 6789 and 3300 (monitors), 6800 to 7300 (OSDs) to this host",
        )
        .on(MONITORS)],
    };
    lines.extend(not_run(&TOPICS[lines.len()..], "there is no connection"));
    lines
}

/// librados let the user in; the kernel needs the same key, and must know its type.
fn user(cluster: &Cluster, user: &str, deadline: Duration) -> Outcome {
    let key = match cluster.key() {
        Ok(key) => key.expose().to_owned().into(),
        Err(error) => {
            return Outcome::failed(
                format!("client.{user} is let in, but the kernel needs its key too: {error}"),
                "name the file with the key: device-config:keyring=PATH",
            )
        }
    };
    let krbd = Krbd::new();
    // Without its module the kernel cannot be asked; a line of its own tells of that.
    let installed = krbd.check_kernel().is_ok_and(|facts| match facts.module {
        Module::Missing(_) => false,
        Module::Loaded | Module::Loadable => krbd.load_module(deadline).is_ok(),
    });
    if !installed {
        return Outcome::Ok(format!(
            "client.{user} is let in; its key is there for the kernel"
        ));
    }
    match krbd.try_key(user, &key, deadline) {
        Ok(()) => Outcome::Ok(format!("client.{user} is let in; the kernel takes its key")),
        Err(hostdev::Error::Keyring { source, advice, .. }) => Outcome::failed(
            format!("client.{user} is let in, but the kernel refuses its key: {source}"),
            advice,
        ),
        Err(error) => Outcome::failed(error.to_string(), "see `dmesg`"),
    }
}

/// That usage can be read is known already; a dead client has to be cut off too.
fn mon_caps(cluster: &Cluster, config: &DeviceConfig) -> Outcome {
    let refused = crate::ceph::may_blocklist(cluster).err();
    match refused {
        None => Outcome::Ok("usage can be read, a dead client can be cut off".to_owned()),
        Some(error) => refusal(&error, config),
    }
}

fn pool_lines(cluster: &Cluster, report: &ClusterReport, config: &DeviceConfig) -> Vec<CheckLine> {
    let pool = match pool(report, config) {
        Ok(pool) => pool,
        Err(outcome) => {
            let mut lines = vec![outcome.on(POOL)];
            let rest = [APPLICATION, ROOM, OSD_CAPS, MGR_CAPS];
            lines.extend(not_run(&rest, "the pool comes first"));
            return lines;
        }
    };
    vec![
        Outcome::Ok(format!("{} exists, id {}", pool.name, pool.id)).on(POOL),
        application(&pool).on(APPLICATION),
        room(&pool).on(ROOM),
        osd_caps(cluster, &pool.name, config).on(OSD_CAPS),
        mgr_caps(cluster, &pool.name, config).on(MGR_CAPS),
    ]
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
            format!("{name} is erasure coded, and takes no image headers"),
            "name a replicated pool: device-config:pool=NAME",
        )),
        Ok(summary) => Ok(summary),
        Err(UsageError::PoolMissing { candidates, .. }) => Err(Outcome::failed(
            format!("there is no pool {name}; {}", list(candidates)),
            format!("ceph osd pool create {name} && ceph osd pool application enable {name} rbd"),
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

fn room(pool: &PoolSummary) -> Outcome {
    let usage = &pool.usage;
    if let Err(full) = usage.room_for_growth() {
        return Outcome::failed(full.found(), full.remedy());
    }
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let quota = match (usage.quota_bytes, usage.quota_objects) {
        (None, None) => "no quota".to_owned(),
        (Some(bytes), None) => format!("quota {}", mib(bytes)),
        (None, Some(objects)) => format!("quota {objects} objects"),
        (Some(bytes), Some(objects)) => format!("quota {} and {objects} objects", mib(bytes)),
    };
    let found = match (usage.free(), usage.total()) {
        (Some(free), Some(total)) => format!("{} free of {}, {quota}", mib(free), mib(total)),
        _ => quota,
    };
    if usage.stats_known {
        return Outcome::Ok(found);
    }
    Outcome::warning(
        format!("{found}; the cluster has no statistics of the pool yet"),
        "if that lasts, no manager is running: ceph mgr stat",
    )
}

/// Reads, lists and writes what is not there: each needs its cap before it finds nothing to do.
fn osd_caps(cluster: &Cluster, pool: &str, config: &DeviceConfig) -> Outcome {
    let absent = format!("smblock.check.{}", uuid::Uuid::new_v4());
    let attempt = || -> librbd::Result<()> {
        let pool = cluster.pool(pool)?;
        pool.object_exists(&absent)?;
        pool.image_list()?;
        match pool.remove_object(&absent) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    };
    match attempt() {
        Ok(()) => Outcome::Ok(format!("{pool} can be read, listed and written")),
        Err(error) => refusal(&error, config),
    }
}

/// Only a warning: without the manager deleted disks keep their space until a scan finds it back, or
/// until `smblock-admin reclaim` frees it.
fn mgr_caps(cluster: &Cluster, pool: &str, config: &DeviceConfig) -> Outcome {
    let wait = "ceph mgr stat; its module rbd_support needs some seconds after a start";
    match cluster.mgr_command(&json!({"prefix": "rbd task list", "pool_spec": pool})) {
        Ok(answer) => match serde_json::from_slice::<Vec<Value>>(&answer) {
            Ok(tasks) => Outcome::Ok(format!(
                "the manager frees deleted disks in the background; {} waiting",
                tasks.len()
            )),
            Err(error) => Outcome::warning(
                format!("the manager gave no list of its tasks ({error})"),
                wait,
            ),
        },
        Err(error) if is_denied(&error) => Outcome::warning(
            format!("the manager may not be asked to free deleted disks: {error}"),
            grant("caps", config),
        ),
        Err(error) => Outcome::warning(
            format!("the manager does not free deleted disks now: {error}"),
            wait,
        ),
    }
}

fn report(cluster: &Cluster, config: &DeviceConfig) -> Result<ClusterReport, Outcome> {
    let ask = |command: Value| {
        let reply = cluster.mon_command(&command);
        reply.map_err(|error| refusal(&error, config))
    };
    let df = ask(json!({"prefix": "df", "detail": "detail", "format": "json"}))?;
    let osd_dump = ask(json!({"prefix": "osd dump", "format": "json"}))?;
    ClusterReport::parse(&df, &osd_dump)
        .map_err(|error| Outcome::failed(error.to_string(), "ceph versions"))
}

fn is_denied(error: &Error) -> bool {
    [Errno::EPERM, Errno::EACCES]
        .iter()
        .any(|&errno| error.errno() == Some(errno as i32))
}

/// A request that the user may not make, or that got no answer.
fn refusal(error: &Error, config: &DeviceConfig) -> Outcome {
    let remedy = match is_denied(error) {
        true => grant("caps", config),
        false => "see what is down or inactive: ceph health detail".to_owned(),
    };
    Outcome::failed(error.to_string(), remedy)
}

/// The one command that gives the user what this driver needs, and nothing more.
fn grant(verb: &str, config: &DeviceConfig) -> String {
    let pool = config.pool().unwrap_or("POOL");
    format!(
        "ceph auth {verb} client.{} mon 'profile rbd' osd 'profile rbd pool={pool}' \
         mgr 'profile rbd pool={pool}'",
        config.user()
    )
}
