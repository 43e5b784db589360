//! The versions of smblock on the hosts of a pool, and what XAPI has about the drivers.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::finding::{table, Finding};

const RESTART: &str = "xe-toolstack-restart";

/// What XAPI has about the pool's hosts and drivers, and what the hosts reply.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolFacts {
    /// The version of this host's smblock.
    pub version: String,
    /// The hosts of the pool, the master first.
    pub hosts: Vec<VersionFacts>,
    /// XAPI's records of smblock's drivers.
    pub drivers: Vec<DriverFacts>,
    /// The types of the SRs that XAPI has, as far as they are smblock's.
    pub sr_types: Vec<String>,
    /// The pool's exports.
    pub exports: Vec<ExportFacts>,
}

/// An export of the pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportFacts {
    /// Its name.
    pub name: String,
    /// The UUID of its VDI. `None` if the pool's key cannot be read.
    pub vdi: Option<String>,
    /// Whether XAPI has the VDI.
    pub has_vdi: bool,
    /// Whether its host serves it.
    pub is_served: bool,
    /// Whether the pool's key cannot be read.
    pub is_damaged: bool,
    /// The name of the host that is to serve it, if there is one.
    pub host: Option<String>,
}

/// A host of the pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionFacts {
    /// XAPI's reference.
    pub reference: String,
    /// Its name.
    pub name: String,
    /// What its plugin `smblock` replies.
    pub reply: VersionReply,
}

/// What a host's plugin replies when it is asked for its version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionReply {
    /// This version.
    Version(String),
    /// The host has no such plugin.
    NoPlugin,
    /// The plugin has no such function: it is of smblock 0.1.0.
    NoFunction,
    /// There is no reply, for that reason.
    Silent(String),
}

/// XAPI's record of a driver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverFacts {
    /// The SR type.
    pub sr_type: String,
    /// The driver's version.
    pub version: String,
    /// Features that are off until all hosts have reported them, by the hosts that have.
    pub pending: BTreeMap<String, Vec<String>>,
}

impl PoolFacts {
    /// Reads them from JSON.
    ///
    /// # Errors
    /// The text is no such JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Compares the hosts with this one, and XAPI's records with the SRs.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let hosts = self.hosts.iter().filter_map(|host| self.of_host(host));
        let drivers = self
            .drivers
            .iter()
            .flat_map(|driver| self.of_driver(driver));
        let exports = self.exports.iter().filter_map(of_export);
        hosts
            .chain(self.missing())
            .chain(drivers)
            .chain(exports)
            .collect()
    }

    fn of_host(&self, host: &VersionFacts) -> Option<Finding> {
        let own = &self.version;
        let object = format!("host {}", host.name);
        let install = |version: &str| format!("yum install ./smblock-{version}-1.x86_64.rpm");
        let there = format!("on host {}: {} && {RESTART}", host.name, install(own));
        match &host.reply {
            VersionReply::Version(version) => match order(version, own) {
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Less => {
                    let text = format!("it has smblock {version}, and this host {own}");
                    Some(table::HOST_OLDER.found(object, text, there))
                }
                std::cmp::Ordering::Greater => {
                    let text = format!("it has smblock {version}, and this host {own}");
                    let fix = format!("on this host: {} && {RESTART}", install(version));
                    Some(table::HOST_NEWER.found(object, text, fix))
                }
            },
            VersionReply::NoFunction => {
                let text = format!("it has smblock 0.1.0, and this host {own}");
                Some(table::HOST_OLDER.found(object, text, there))
            }
            VersionReply::NoPlugin => {
                let text = "it does not have smblock";
                Some(table::HOST_WITHOUT.found(object, text, there))
            }
            VersionReply::Silent(reason) => {
                let fix = format!(
                    "start the host, or its toolstack ({RESTART} there), then: smblock doctor"
                );
                let text = format!("its version is unknown: {reason}");
                Some(table::HOST_SILENT.found(object, text, fix))
            }
        }
    }

    fn of_driver(&self, driver: &DriverFacts) -> Vec<Finding> {
        let mut found = Vec::new();
        let object = format!("SR type {}", driver.sr_type);
        // While hosts have other versions, their findings state what to do first.
        if driver.version != self.version && self.is_everywhere() {
            let text = format!(
                "xapi has the driver's version {}, and the hosts have {}",
                driver.version, self.version
            );
            let fix = format!("on the pool's master, {}: {RESTART}", self.master());
            found.push(table::DRIVER_NOT_READ.found(object.clone(), text, fix));
        }
        if !driver.pending.is_empty() {
            let mut features: Vec<_> = driver.pending.values().flatten().collect();
            features.sort();
            features.dedup();
            let features = features.into_iter();
            // XAPI has NAME/VERSION.
            let features: Vec<_> = features
                .filter_map(|feature| feature.split(['/', ':']).next())
                .collect();
            let waits_for = self.hosts.iter();
            let waits_for = waits_for.filter(|host| !driver.pending.contains_key(&host.reference));
            let names: Vec<_> = waits_for.map(|host| host.name.as_str()).collect();
            let (features, names) = (features.join(", "), names.join(", "));
            let text = format!("{features} is off until it is reported by: {names}");
            let fix = format!("on each of these hosts ({names}): {RESTART}");
            found.push(table::FEATURES_PENDING.found(object, text, fix));
        }
        found
    }

    /// SR types of which XAPI has SRs and no driver.
    fn missing(&self) -> Vec<Finding> {
        let has = |sr_type: &str| self.drivers.iter().any(|driver| driver.sr_type == sr_type);
        let missing = self.sr_types.iter().filter(|sr_type| !has(sr_type));
        let missing = missing.map(|sr_type| {
            let text = "XAPI has SRs of the type, and no driver of it";
            let fix = "from the unpacked archive of the release: ./install.sh --pool --restart";
            table::NO_DRIVER_IN_XAPI.found(format!("SR type {sr_type}"), text, fix)
        });
        missing.collect()
    }

    /// Whether all hosts have this version.
    fn is_everywhere(&self) -> bool {
        let own = VersionReply::Version(self.version.clone());
        self.hosts.iter().all(|host| host.reply == own)
    }

    fn master(&self) -> &str {
        self.hosts.first().map_or("", |host| host.name.as_str())
    }
}

fn of_export(export: &ExportFacts) -> Option<Finding> {
    let object = format!("export {}", export.name);
    let Some(vdi) = export.vdi.as_ref().filter(|_| !export.is_damaged) else {
        let text = "the pool's other_config has a key of it that cannot be read";
        let fix = format!(
            "remove the name, then export the VDI again: smblock unexport {}",
            export.name
        );
        return Some(table::EXPORT_DAMAGED.found(object, text, fix));
    };
    if !export.has_vdi {
        let text = format!("XAPI does not have its VDI {vdi}");
        let fix = format!("smblock unexport {}", export.name);
        return Some(table::EXPORT_WITHOUT_VDI.found(object, text, fix));
    }
    if export.is_served {
        return None;
    }
    let again = format!("smblock export {vdi} --name {}", export.name);
    let (text, fix) = match &export.host {
        Some(host) => (
            format!("host {host} does not serve it"),
            format!("on host {host}, or on another one that is to serve it: {again}"),
        ),
        None => (
            "no host serves it".to_owned(),
            format!("on a host: {again}"),
        ),
    };
    Some(table::EXPORT_NOT_SERVED.found(object, text, fix))
}

/// Compares two versions by their numbers: 0.10.0 is newer than 0.9.0. A version with another suffix is older than
/// the one without.
fn order(one: &str, other: &str) -> std::cmp::Ordering {
    let key = |version: &str| {
        let (numbers, suffix) = match version.find(|c: char| !c.is_ascii_digit() && c != '.') {
            Some(end) => version.split_at(end),
            None => (version, ""),
        };
        let numbers: Vec<u64> = numbers.split('.').filter_map(|n| n.parse().ok()).collect();
        (numbers, suffix.is_empty(), suffix.to_owned())
    };
    key(one).cmp(&key(other))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn facts(replies: &str, drivers: &str) -> PoolFacts {
        let text = format!(
            r#"{{"version": "0.10.0", "sr_types": ["cephrbd"], "exports": [], "drivers": [{drivers}], "hosts": [{replies}]}}"#
        );
        PoolFacts::parse(&text).unwrap()
    }

    fn host(name: &str, reply: &str) -> String {
        format!(r#"{{"reference": "OpaqueRef:{name}", "name": "{name}", "reply": {reply}}}"#)
    }

    fn driver(version: &str, pending: &str) -> String {
        format!(r#"{{"sr_type": "cephrbd", "version": "{version}", "pending": {{{pending}}}}}"#)
    }

    fn texts(facts: &PoolFacts) -> Vec<String> {
        let found = facts.findings();
        let found = found.iter();
        found
            .map(|it| format!("{} {}: {}. {}", it.kind.id, it.object, it.found, it.fix))
            .collect()
    }

    const OWN: &str = r#"{"version": "0.10.0"}"#;

    #[test]
    fn hosts_of_one_version_are_no_finding() {
        let hosts = [host("one", OWN), host("two", OWN)].join(",");
        assert_eq!(texts(&facts(&hosts, &driver("0.10.0", ""))), [""; 0]);
    }

    #[test]
    fn each_host_of_another_version_is_found_with_the_command() {
        let replies = [
            r#"{"version": "0.9.1"}"#,
            r#""no_function""#,
            r#""no_plugin""#,
            r#"{"version": "0.11.0"}"#,
            r#"{"silent": "no reply within 10 s"}"#,
        ];
        let hosts = replies.map(|reply| host("two", reply)).join(",");
        let install =
            "on host two: yum install ./smblock-0.10.0-1.x86_64.rpm && xe-toolstack-restart";
        assert_eq!(
            texts(&facts(&hosts, &driver("0.10.0", ""))),
            [
                format!("SMB-F431 host two: it has smblock 0.9.1, and this host 0.10.0. {install}"),
                format!("SMB-F431 host two: it has smblock 0.1.0, and this host 0.10.0. {install}"),
                format!("SMB-F430 host two: it does not have smblock. {install}"),
                "SMB-F432 host two: it has smblock 0.11.0, and this host 0.10.0. on this host: \
                 yum install ./smblock-0.11.0-1.x86_64.rpm && xe-toolstack-restart"
                    .to_owned(),
                "SMB-F433 host two: its version is unknown: no reply within 10 s. start the host, \
                 or its toolstack (xe-toolstack-restart there), then: smblock doctor"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn a_pending_feature_names_the_hosts_that_have_not_reported_it() {
        let hosts = [host("one", OWN), host("two", OWN), host("three", OWN)].join(",");
        let pending = r#""OpaqueRef:one": ["VDI_MIRROR/1"]"#;
        assert_eq!(
            texts(&facts(&hosts, &driver("0.10.0", pending))),
            ["SMB-F434 SR type cephrbd: VDI_MIRROR is off until it is reported by: two, three. on \
              each of these hosts (two, three): xe-toolstack-restart"]
        );
    }

    #[test]
    fn srs_without_a_driver_in_xapi_are_found() {
        let found = texts(&facts(&host("one", OWN), ""));
        assert_eq!(
            found,
            ["SMB-F435 SR type cephrbd: XAPI has SRs of the type, and no driver of it. from the \
              unpacked archive of the release: ./install.sh --pool --restart"]
        );
    }

    #[test]
    fn a_driver_that_xapi_has_not_read_anew_is_found_when_all_hosts_have_it() {
        let hosts = [host("one", OWN), host("two", OWN)].join(",");
        let found = texts(&facts(&hosts, &driver("0.9.0", "")));
        assert_eq!(
            found,
            ["SMB-F436 SR type cephrbd: xapi has the driver's version 0.9.0, and the hosts have \
              0.10.0. on the pool's master, one: xe-toolstack-restart"]
        );
        let hosts = [host("one", OWN), host("two", r#"{"version": "0.9.0"}"#)].join(",");
        assert_eq!(facts(&hosts, &driver("0.9.0", "")).findings().len(), 1);
    }

    #[test]
    fn an_export_that_is_not_served_is_found_with_the_command() {
        let mut facts = facts(&host("one", OWN), &driver("0.10.0", ""));
        let export = ExportFacts {
            name: "web/0".to_owned(),
            vdi: Some("VDI".to_owned()),
            has_vdi: true,
            is_served: true,
            is_damaged: false,
            host: Some("two".to_owned()),
        };
        facts.exports.push(export.clone());
        assert_eq!(texts(&facts), [""; 0]);
        let not_served = ExportFacts {
            is_served: false,
            ..export
        };
        let no_host = ExportFacts {
            host: None,
            ..not_served.clone()
        };
        let no_vdi = ExportFacts {
            has_vdi: false,
            ..not_served.clone()
        };
        let damaged = ExportFacts {
            vdi: None,
            is_damaged: true,
            ..no_vdi.clone()
        };
        facts.exports = vec![not_served, no_host, no_vdi, damaged];
        assert_eq!(
            texts(&facts),
            [
                "SMB-F440 export web/0: host two does not serve it. on host two, or on another one that \
                 is to serve it: smblock export VDI --name web/0",
                "SMB-F440 export web/0: no host serves it. on a host: smblock export VDI --name web/0",
                "SMB-F441 export web/0: XAPI does not have its VDI VDI. smblock unexport web/0",
                "SMB-F446 export web/0: the pool's other_config has a key of it that cannot be read. \
                 remove the name, then export the VDI again: smblock unexport web/0",
            ]
        );
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        for (one, other, expected) in [
            ("0.9.0", "0.10.0", Less),
            ("1.0.0", "1.0.0", Equal),
            ("1.0.0", "1.0.0-rc.1", Greater),
            ("1.0.0-rc.1", "0.9.9", Greater),
        ] {
            assert_eq!(order(one, other), expected, "{one} {other}");
        }
    }
}
