//! Where the monitors are, for a kernel that has to be told.

use serde_json::{json, Value};

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// A monitor's addresses, each as `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// The monitor's name.
    pub name: String,
    /// Where it speaks the messenger protocol v1, the only one of kernels before 5.11.
    pub v1: Option<String>,
    /// Where it speaks v2.
    pub v2: Option<String>,
}

impl Cluster {
    /// The monitors of the cluster, as its own map has them.
    pub fn monitors(&self) -> Result<Vec<Monitor>> {
        let dump = self.mon_query(&json!({"prefix": "mon dump", "format": "json"}))?;
        parse(&dump).ok_or_else(|| Error::Malformed {
            what: "`mon dump`".to_owned(),
            reason: "a monitor has no name or no public_addrs".to_owned(),
        })
    }

    /// The v1 addresses (`host:port`) of the monitors that have one, for the kernel. Monitors that
    /// have none are named in the log.
    ///
    /// # Errors
    /// [`Error::NoV1Monitor`] where none has one.
    pub fn mon_addresses(&self) -> Result<Vec<String>> {
        let monitors = self.monitors()?;
        let without: Vec<_> = monitors
            .iter()
            .filter(|mon| mon.v1.is_none())
            .map(|mon| mon.name.as_str())
            .collect();
        let without = without.join(", ");
        let addresses: Vec<_> = monitors.iter().filter_map(|mon| mon.v1.clone()).collect();
        if addresses.is_empty() {
            return Err(Error::NoV1Monitor { monitors: without });
        }
        if !without.is_empty() {
            log::warn!("the kernel cannot use the monitors {without}: they have no v1 address");
        }
        Ok(addresses)
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
    let address_of = |kind: &str| {
        let address = addresses.iter().find(|address| address["type"] == kind)?;
        address["addr"].as_str().map(str::to_owned)
    };
    Some(Monitor {
        name: mon.get("name")?.as_str()?.to_owned(),
        v1: address_of("v1"),
        v2: address_of("v2"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_may_have_v1_or_v2_or_both() {
        let v1 = json!({"type": "v1", "addr": "10.0.0.1:6789", "nonce": 0});
        let v2 = json!({"type": "v2", "addr": "[fd00::1]:3300", "nonce": 0});
        let dump = json!({"mons": [
            {"name": "a", "public_addrs": {"addrvec": [v2, v1]}},
            {"name": "b", "public_addrs": {"addrvec": [v2]}},
        ]});
        let (v1, v2) = (
            Some("10.0.0.1:6789".to_owned()),
            Some("[fd00::1]:3300".to_owned()),
        );
        assert_eq!(
            parse(&dump),
            Some(vec![
                Monitor {
                    name: "a".to_owned(),
                    v1,
                    v2: v2.clone()
                },
                Monitor {
                    name: "b".to_owned(),
                    v1: None,
                    v2
                },
            ])
        );
    }

    #[test]
    fn an_answer_without_addresses_is_not_an_empty_list() {
        assert_eq!(parse(&json!({})), None);
        assert_eq!(parse(&json!({"mons": [{"name": "a"}]})), None);
    }
}
