//! The addresses of the monitors, which the kernel needs.

use serde_json::{json, Value};

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// A monitor's addresses, each as `host:port` (IPv6: `[host]:port`). A monitor with IPv4 and IPv6 has several
/// of each version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// The monitor's name.
    pub name: String,
    /// Its addresses for the messenger protocol v1, the only one of kernels before 5.11.
    pub v1: Vec<String>,
    /// Its addresses for v2.
    pub v2: Vec<String>,
}

impl Cluster {
    /// Returns the monitors in the cluster's monitor map.
    pub fn monitors(&self) -> Result<Vec<Monitor>> {
        let dump = self.mon_query(&json!({"prefix": "mon dump", "format": "json"}))?;
        parse(&dump).ok_or_else(|| Error::Malformed {
            what: "`mon dump`".to_owned(),
            reason: "a monitor has no name or no public_addrs".to_owned(),
        })
    }
}

pub(crate) fn parse(dump: &Value) -> Option<Vec<Monitor>> {
    dump.get("mons")?
        .as_array()?
        .iter()
        .map(parse_monitor)
        .collect()
}

fn parse_monitor(mon: &Value) -> Option<Monitor> {
    let addresses = mon.get("public_addrs")?.get("addrvec")?.as_array()?;
    let of_kind = |kind: &str| {
        let found = addresses.iter().filter(|address| address["type"] == kind);
        let found = found.map(|address| address["addr"].as_str().map(str::to_owned));
        found.collect::<Option<Vec<_>>>()
    };
    Some(Monitor {
        name: mon.get("name")?.as_str()?.to_owned(),
        v1: of_kind("v1")?,
        v2: of_kind("v2")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_may_have_several_addresses_of_each_version() {
        let address = |kind: &str, addr: &str| json!({"type": kind, "addr": addr, "nonce": 0});
        let dump = json!({"mons": [
            {"name": "a", "public_addrs": {"addrvec": [
                address("v2", "10.0.0.1:3300"),
                address("v1", "10.0.0.1:6789"),
                address("v2", "[fd00::1]:3300"),
                address("v1", "[fd00::1]:6789"),
            ]}},
            {"name": "b", "public_addrs": {"addrvec": [address("v2", "[fd00::2]:3300")]}},
        ]});
        let monitor = |name: &str, v1: &[&str], v2: &[&str]| Monitor {
            name: name.to_owned(),
            v1: v1.iter().map(|&text| text.to_owned()).collect(),
            v2: v2.iter().map(|&text| text.to_owned()).collect(),
        };
        assert_eq!(
            parse(&dump),
            Some(vec![
                monitor(
                    "a",
                    &["10.0.0.1:6789", "[fd00::1]:6789"],
                    &["10.0.0.1:3300", "[fd00::1]:3300"]
                ),
                monitor("b", &[], &["[fd00::2]:3300"]),
            ])
        );
    }

    #[test]
    fn a_reply_without_addresses_is_an_error() {
        assert_eq!(parse(&json!({})), None);
        assert_eq!(parse(&json!({"mons": [{"name": "a"}]})), None);
    }
}
