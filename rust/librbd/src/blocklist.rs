//! The cluster's blocklist.

use std::time::Duration;

use nix::errno::Errno;
use serde_json::{json, Value};

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// An address that no client of the cluster has, from a network for documentation (RFC 5737).
const UNUSED_ADDRESS: &str = "192.0.2.0:0/1";

/// A client that is fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlocklistEntry {
    /// The client's address, `ip:port/nonce`, as in [`Watcher`](crate::Watcher). Nonce 0 means every client
    /// of that IP address.
    pub address: String,
}

impl Cluster {
    /// Returns the fenced clients. Omits entries for whole networks.
    ///
    /// The command: `ceph osd blocklist ls` (before Pacific `ceph osd blacklist ls`).
    pub fn blocklisted(&self) -> Result<Vec<BlocklistEntry>> {
        let listed = in_either_spelling(|word| {
            self.mon_command(&json!({"prefix": format!("osd {word} ls"), "format": "json"}))
        })?;
        parse(&listed)
    }

    /// Fences a client that does not exist for a second, and returns the monitors' reply and the duration.
    /// The reply shows their clock: `blocklisting 192.0.2.0:0/1 until 2026-11-29T01:00:01.000000+0000 (1 sec)`
    /// (Octopus and newer; Nautilus shows local time).
    ///
    /// The command: `ceph osd blocklist add`.
    pub fn blocklist_reply(&self) -> Result<(String, Duration)> {
        let seconds = 1_u32;
        let reply = in_either_spelling(|word| {
            self.mon_status(&json!({
                "prefix": format!("osd {word}"),
                format!("{word}op"): "add",
                "addr": UNUSED_ADDRESS,
                "expire": f64::from(seconds),
            }))
        })?;
        Ok((reply, Duration::from_secs(seconds.into())))
    }
}

/// Runs a command with the word `blocklist`, and with `blacklist` on monitors before Pacific.
fn in_either_spelling<T>(run: impl Fn(&str) -> Result<T>) -> Result<T> {
    match run("blocklist") {
        // A monitor returns EINVAL for a command that it does not support.
        Err(error) if error.errno() == Some(Errno::EINVAL as i32) => run("blacklist"),
        other => other,
    }
}

/// Parses the lists: one of clients, and since Pacific a second one of networks.
pub(crate) fn parse(listed: &[u8]) -> Result<Vec<BlocklistEntry>> {
    let malformed = |reason: String| Error::Malformed {
        what: "`osd blocklist ls`".to_owned(),
        reason,
    };
    let mut found = Vec::new();
    for list in serde_json::Deserializer::from_slice(listed).into_iter::<Value>() {
        let list = list.map_err(|error| malformed(error.to_string()))?;
        let entries = list.as_array();
        let entries = entries.ok_or_else(|| malformed("it is not a list".to_owned()))?;
        found.extend(entries.iter().filter_map(entry));
    }
    Ok(found)
}

fn entry(value: &Value) -> Option<BlocklistEntry> {
    let address = value.get("addr")?.as_str()?;
    // Networks: `cidr:192.0.2.0/24:0/0`.
    if address.starts_with("cidr:") {
        return None;
    }
    let bare = ["v1:", "v2:", "any:"]
        .iter()
        .find_map(|kind| address.strip_prefix(kind));
    Some(BlocklistEntry {
        address: bare.unwrap_or(address).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_networks_is_ignored() {
        let listed = br#"[{"addr":"127.0.0.1:0/37","until":"x"}][{"range":"192.0.2.0/24"}]"#;
        let found = parse(listed).map(|found| found.into_iter().map(|e| e.address).collect());
        assert_eq!(found.unwrap_or_else(|_| vec![]), ["127.0.0.1:0/37"]);
        assert!(parse(b"[{]").is_err() && parse(b"{}").is_err());
    }

    #[test]
    fn addresses_have_the_form_of_those_of_watchers() {
        let of = |address: &str| entry(&json!({"addr": address, "until": "x"})).map(|e| e.address);
        assert_eq!(of("10.0.0.9:0/1837").as_deref(), Some("10.0.0.9:0/1837"));
        assert_eq!(of("v1:10.0.0.9:0/7").as_deref(), Some("10.0.0.9:0/7"));
        assert_eq!(
            of("[2001:db8::1]:0/7").as_deref(),
            Some("[2001:db8::1]:0/7")
        );
        assert_eq!(of("cidr:192.0.2.0/24:0/0"), None);
    }
}
