//! Requests that the monitors serve.

use std::collections::BTreeMap;

use serde_json::json;

use crate::pool::Result;

/// Asks whether the user may put clients on the blocklist, without doing it.
///
/// # Errors
/// EACCES: the user lacks the cap.
pub(crate) fn may_blocklist(cluster: &librbd::Cluster) -> librbd::Result<()> {
    // Without the cap, the monitors refuse the request. With it, they refuse this address, which cannot be
    // parsed. Nautilus and Octopus have only the older spelling. A release that does not have one of them
    // returns the same EINVAL.
    for spelling in ["blocklist", "blacklist"] {
        let command = json!({
            "prefix": format!("osd {spelling}"),
            format!("{spelling}op"): "add",
            "addr": "none/0",
        });
        match cluster.mon_command(&command) {
            Err(error) if error.errno() == Some(nix::libc::EINVAL) => {}
            other => other.map(drop)?,
        }
    }
    Ok(())
}

/// `ceph df detail`, as JSON.
pub fn df(cluster: &librbd::Cluster) -> Result<Vec<u8>> {
    let command = json!({"prefix": "df", "detail": "detail", "format": "json"});
    Ok(cluster.mon_command(&command)?)
}

/// `ceph osd dump`, as JSON.
pub fn osd_dump(cluster: &librbd::Cluster) -> Result<Vec<u8>> {
    let command = json!({"prefix": "osd dump", "format": "json"});
    Ok(cluster.mon_command(&command)?)
}

/// Returns the cluster's pools by id; none if they cannot be listed.
#[must_use]
pub fn pools(cluster: &librbd::Cluster) -> BTreeMap<i64, String> {
    let names = cluster.pool_names().unwrap_or_else(|e| {
        log::warn!("the pools cannot be listed: {e}");
        Vec::new()
    });
    let found = names.into_iter().filter_map(|name| {
        let pool = cluster.pool(&name).ok()?;
        Some((pool.id(), name))
    });
    found.collect()
}
