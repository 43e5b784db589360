//! What the user may do. Requests that change nothing find it out.

use librbd::{Cluster, Error};
use nix::errno::Errno;
use serde_json::{json, Value};
use sr::check::Outcome;

use crate::caps::Caps;
use crate::pool::spec::spec;
use crate::pool::PoolError;
use crate::usage::{ClusterReport, PoolSummary};

/// Checks that the user may fence a dead client. That it may read the usage was checked before.
pub(super) fn mon(cluster: &Cluster, caps: &Caps) -> Outcome {
    let refused = crate::ceph::may_blocklist(cluster).err();
    match refused {
        None => Outcome::Ok("usage can be read, a dead client can be cut off".to_owned()),
        Some(error) => refusal(error, caps),
    }
}

/// Reads, lists, calls a class and writes, each on an object that does not exist: the cluster checks the cap
/// first.
/// `data`: the pool for the data of new images.
pub(super) fn osd(
    cluster: &Cluster,
    (pool, namespace): (&str, &str),
    data: Option<&PoolSummary>,
    report: &ClusterReport,
    caps: &Caps,
) -> Outcome {
    let absent = format!("smblock.check.{}", uuid::Uuid::new_v4());
    let attempt = || -> librbd::Result<()> {
        let pool = cluster.pool(pool)?.in_namespace(namespace)?;
        pool.object_exists(&absent)?;
        pool.image_list()?;
        pool.image_id(&absent)?; // runs a class method
        let writes = |pool: &librbd::Pool| match pool.remove_object(&absent) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        };
        writes(&pool)?;
        match data {
            None => Ok(()),
            Some(data) => writes(&cluster.pool(&data.name)?.in_namespace(namespace)?),
        }
    };
    match attempt() {
        Ok(()) => {
            let data = data.map_or(String::new(), |data| {
                format!("; {} can be written", data.name)
            });
            let place = spec(pool, namespace);
            Outcome::Ok(format!(
                "{place} can be read, listed and written, and its classes called{data}"
            ))
        }
        Err(error) if error.errno() == Some(Errno::ETIMEDOUT as i32) => {
            no_reply(error, report, caps)
        }
        Err(error) => refusal(error, caps),
    }
}

/// The monitors reply, but the OSDs do not.
fn no_reply(error: Error, report: &ClusterReport, caps: &Caps) -> Outcome {
    let found = error.to_string();
    let (up, all) = report.osds();
    if let Some(flag) = report.pause() {
        return Outcome::failed(
            format!("{found}; the cluster's flag {flag} stops the I/O of all clients"),
            "ceph osd unpause",
        );
    }
    if up == 0 {
        return Outcome::failed(
            format!("{found}; none of {all} OSDs is up"),
            "see why: ceph health detail",
        );
    }
    let remedy = caps.advise_on(&PoolError::from(error));
    Outcome::failed(
        format!("{found}; {up} of {all} OSDs are up"),
        remedy.unwrap_or_default(),
    )
}

/// Only a warning: without ceph-mgr, the space of deleted disks is freed later, by a scan or by
/// `smblock reclaim`.
pub(super) fn mgr(cluster: &Cluster, place: (&str, &str), caps: &Caps) -> Outcome {
    let place = spec(place.0, place.1);
    let wait = "ceph -s shows whether ceph-mgr runs; its module rbd_support needs some seconds after a start";
    match cluster.mgr_command(&json!({"prefix": "rbd task list", "pool_spec": place})) {
        Ok(answer) => match serde_json::from_slice::<Vec<Value>>(&answer) {
            Ok(tasks) => Outcome::Ok(format!(
                "ceph-mgr frees deleted disks in the background; {} waiting",
                tasks.len()
            )),
            Err(error) => {
                Outcome::warning(format!("ceph-mgr did not list its tasks ({error})"), wait)
            }
        },
        Err(error) if is_denied(&error) => Outcome::warning(
            format!("the user may not ask ceph-mgr to free deleted disks: {error}"),
            caps.grant(),
        ),
        Err(error) => Outcome::warning(
            format!("ceph-mgr does not free deleted disks now: {error}"),
            wait,
        ),
    }
}

fn is_denied(error: &Error) -> bool {
    [Errno::EPERM, Errno::EACCES]
        .iter()
        .any(|&errno| error.errno() == Some(errno as i32))
}

/// A request that the user may not make, or that got no reply.
pub(super) fn refusal(error: Error, caps: &Caps) -> Outcome {
    let remedy = match is_denied(&error) {
        true => caps.grant(),
        false => "see what is down or inactive: ceph health detail".to_owned(),
    };
    Outcome::failed(error.to_string(), remedy)
}
