//! What XAPI has about the pool and the SR, as the front hands it over to a check.

use serde::Deserialize;
use uuid::Uuid;

use crate::finding::{table, Finding};

/// The pool, as far as a check needs it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckFacts {
    /// The UUID of this host.
    pub here: String,
    /// The UUID of the master.
    pub master: String,
    /// Whether the SR is shared.
    pub shared: bool,
    /// The hosts of the pool.
    pub hosts: Vec<HostState>,
}

/// A host of the pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostState {
    /// Its UUID.
    pub uuid: String,
    /// Whether XAPI has its heartbeat.
    pub live: bool,
    /// Whether the SR is plugged on it.
    pub plugged: bool,
}

impl CheckFacts {
    /// Reads them from JSON.
    ///
    /// # Errors
    /// The text is no such JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether this host raises what is about the SR: it is the master, or the master has not plugged the SR
    /// and this host has the lowest UUID of those that have.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        let able = self.hosts.iter().filter(|host| host.live && host.plugged);
        let leader = able.min_by_key(|host| (host.uuid != self.master, &host.uuid));
        leader.map_or(self.here == self.master, |leader| leader.uuid == self.here)
    }

    pub(super) fn has_host(&self, uuid: &str) -> bool {
        self.hosts.iter().any(|host| host.uuid == uuid)
    }
}

/// The finding that only one host of a pool of several can use the SR.
#[must_use]
pub fn not_shared(sr: &Uuid, facts: &CheckFacts) -> Option<Finding> {
    if facts.shared || facts.hosts.len() < 2 {
        return None;
    }
    let mut plugged = facts.hosts.iter().filter(|host| host.plugged);
    let host = plugged
        .next()
        .map_or(facts.here.as_str(), |host| &host.uuid);
    let found = format!("it was created without shared=true: only host {host} can use it");
    let fix = format!(
        "xe sr-param-set uuid={sr} shared=true; then, for each other host: xe pbd-create host-uuid=HOST \
         sr-uuid={sr} with the same device-config, and xe pbd-plug"
    );
    Some(table::NOT_SHARED.found(format!("SR {sr}"), found, fix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    /// A host: its UUID, whether it lives, whether it has plugged the SR.
    type Of = (&'static str, bool, bool);

    fn facts(here: &str, hosts: &[Of]) -> CheckFacts {
        let hosts = hosts.iter().map(|(uuid, live, plugged)| HostState {
            uuid: (*uuid).to_owned(),
            live: *live,
            plugged: *plugged,
        });
        CheckFacts {
            here: here.to_owned(),
            master: "m".to_owned(),
            shared: true,
            hosts: hosts.collect(),
        }
    }

    #[test]
    fn one_living_host_that_has_plugged_the_sr_is_the_leader() {
        let cases: [(&[Of], &str); 4] = [
            (&[("a", true, true), ("m", true, true)], "m"),
            (
                &[("a", true, true), ("b", true, true), ("m", true, false)],
                "a",
            ),
            (
                &[("a", false, true), ("b", true, true), ("m", true, false)],
                "b",
            ),
            (&[("a", true, false), ("m", true, false)], "m"),
        ];
        for (hosts, leader) in cases {
            let leaders = hosts.iter().map(|(uuid, _, _)| *uuid);
            let leaders = leaders.filter(|here| facts(here, hosts).is_leader());
            assert_eq!(leaders.collect::<Vec<_>>(), [leader], "{hosts:?}");
        }
    }

    #[test]
    fn an_sr_of_one_host_is_reported_only_in_a_pool_of_several() {
        let mut facts = facts("a", &[("a", true, true), ("m", true, false)]);
        let sr = Uuid::nil();
        assert_eq!(not_shared(&sr, &facts), None);
        facts.shared = false;
        let found = not_shared(&sr, &facts).unwrap();
        assert!(found.found.contains("only host a can use it"), "{found:?}");
        facts.hosts.pop();
        assert_eq!(not_shared(&sr, &facts), None);
    }
}
