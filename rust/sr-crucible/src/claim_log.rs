//! Who may run a volume's server, and with which generation: an append-only log in XAPI.
//!
//! Crucible has no place in which several hosts can agree before a server is started, and to start a
//! server as a test breaks its fencing. XAPI has one: adding a key to a VDI's `sm_config` fails if the key
//! exists. So the log consists of keys that are only added:
//!
//! * `crucible_claim_SEQ`: a host claims the volume, with the generation that it will start the
//!   server with. The host that adds the next number has the volume.
//! * `crucible_released_GENERATION`: that claim is over, and its server is certainly gone.
//!
//! SEQ and the generation are two numbers. SEQ goes up by one, so that two hosts that read the same log
//! try to add the same key. The generation is also never below the clock: it still rises if XAPI loses
//! the last entries, because its master's power failed or the VDI was forgotten.
//!
//! Entries are never changed, and only the highest claim counts: an entry that SM restores from an old copy
//! has no effect. Entries name their VDI, because XAPI may copy a VDI's maps to another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{Error, Hold, Result};
use super::host::HostId;

/// What every key of this driver in a VDI's `sm_config` begins with.
pub const KEY_PREFIX: &str = "crucible_";
const CLAIM: &str = "crucible_claim_";
const RELEASED: &str = "crucible_released_";

/// A VDI's `sm_config`.
pub type SmConfig = BTreeMap<String, String>;

/// A host's right to run a volume's server, until it is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The volume.
    pub vdi: Uuid,
    /// The generation that the server is started with, at most once.
    pub generation: u64,
    /// UUID of the host.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id` of that host then.
    pub boot_id: String,
    /// When, in seconds since 1970 by that host's clock.
    pub since: u64,
    /// UUID of the pool that the host was in. Claims of versions that did not record it have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

impl Claim {
    /// The error for a command that finds this claim.
    pub(super) fn in_use(&self, hold: Hold) -> Error {
        Error::VdiInUse {
            vdi: self.vdi,
            host: self.host.clone(),
            generation: self.generation,
            since: self.since(),
            hold,
        }
    }

    /// The error if XAPI does not have the claim's host, and the claim was not made in this pool.
    pub(super) fn of_another_pool(&self) -> Error {
        Error::UnknownHost {
            vdi: self.vdi,
            host: self.host.clone(),
            since: self.since(),
            pool: self.pool.clone().unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    fn since(&self) -> String {
        let since = UNIX_EPOCH + Duration::from_secs(self.since);
        humantime::format_rfc3339_seconds(since).to_string()
    }
}

/// The claims in a VDI's `sm_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    last: Option<(u64, Claim)>,
    released: BTreeSet<u64>,
    keys: Vec<String>,
}

impl Log {
    /// Reads the claims of a VDI.
    ///
    /// # Errors
    /// [`Error::Damaged`]: an entry cannot be read, so it is unknown which host has the volume.
    pub fn read(vdi: &Uuid, sm_config: &SmConfig) -> Result<Self> {
        let mut log = Log::default();
        for (key, value) in sm_config {
            let damaged = |detail: String| Error::Damaged {
                vdi: *vdi,
                key: key.clone(),
                detail,
            };
            if let Some(number) = key.strip_prefix(CLAIM) {
                let number: u64 = number
                    .parse()
                    .map_err(|_| damaged("its name does not end in a number".to_owned()))?;
                let claim: Claim =
                    serde_json::from_str(value).map_err(|e| damaged(e.to_string()))?;
                if claim.vdi != *vdi {
                    continue; // XAPI has copied it from another VDI
                }
                if log.last.as_ref().is_none_or(|(last, _)| *last < number) {
                    log.last = Some((number, claim));
                }
            } else if let Some(generation) = key.strip_prefix(RELEASED) {
                let generation = generation
                    .parse()
                    .map_err(|_| damaged("its name does not end in a number".to_owned()))?;
                log.released.insert(generation);
            } else {
                continue;
            }
            log.keys.push(key.clone());
        }
        Ok(log)
    }

    /// Returns the claim that was not released, or `None`.
    pub fn open(&self) -> Option<&Claim> {
        let (_, claim) = self.last.as_ref()?;
        (!self.released.contains(&claim.generation)).then_some(claim)
    }

    /// Returns the key and the claim that `me` must add to have the volume next. `floor` is the highest
    /// generation that the volume has had outside this log.
    pub(super) fn next(
        &self,
        vdi: &Uuid,
        me: &HostId,
        pool: String,
        floor: u64,
        now: u64,
    ) -> (String, Claim) {
        let (number, spent) = self
            .last
            .as_ref()
            .map_or((0, 0), |(number, claim)| (*number, claim.generation));
        let claim = Claim {
            vdi: *vdi,
            generation: (spent.max(floor) + 1).max(now),
            host: me.host.clone(),
            boot_id: me.boot_id.clone(),
            since: now,
            pool: Some(pool),
        };
        (format!("{CLAIM}{}", number + 1), claim)
    }

    /// Returns the keys that have no effect after a further claim was added.
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }
}

/// Returns the key that records that the claim of that generation is over.
pub(super) fn released_key(generation: u64) -> String {
    format!("{RELEASED}{generation}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const VDI: Uuid = Uuid::from_u128(1);

    fn me() -> HostId {
        HostId {
            host: "host-1".to_owned(),
            boot_id: "boot-1".to_owned(),
        }
    }

    fn add(sm_config: &mut SmConfig, floor: u64, now: u64) -> Claim {
        let (key, claim) =
            Log::read(&VDI, sm_config)
                .unwrap()
                .next(&VDI, &me(), "pool".to_owned(), floor, now);
        let value = serde_json::to_string(&claim).unwrap();
        assert_eq!(sm_config.insert(key, value), None);
        claim
    }

    /// What 0.1.0 writes, and what a newer version may add.
    #[test]
    fn claims_of_an_older_and_of_a_newer_version_are_read() {
        let claim = format!(
            r#"{{"vdi":"{VDI}","generation":7,"host":"host-1","boot_id":"boot-1","since":7,"pool":"pool""#
        );
        for value in [
            format!("{claim}}}"),
            format!(r#"{claim},"new":{{"a":1}}}}"#),
        ] {
            let sm_config = SmConfig::from([
                ("crucible_claim_3".to_owned(), value),
                ("crucible_of_a_newer_version".to_owned(), "x".to_owned()),
            ]);
            let log = Log::read(&VDI, &sm_config).unwrap();
            let (key, next) = log.next(&VDI, &me(), "pool".to_owned(), 0, 0);
            assert_eq!((key.as_str(), next.generation), ("crucible_claim_4", 8));
            assert_eq!(log.keys(), ["crucible_claim_3"]);
        }
    }

    #[test]
    fn the_next_claim_is_what_older_versions_read() {
        let mut sm_config = SmConfig::new();
        add(&mut sm_config, 0, 7);
        let expected = serde_json::json!({"vdi": VDI, "generation": 7, "host": "host-1",
            "boot_id": "boot-1", "since": 7, "pool": "pool"});
        let written: serde_json::Value =
            serde_json::from_str(&sm_config["crucible_claim_1"]).unwrap();
        assert_eq!(written, expected);
    }

    #[test]
    fn generations_rise_even_if_the_clock_goes_back() {
        let mut sm_config = SmConfig::new();
        let generations = [(0, 1_000), (0, 1_000), (0, 10), (5_000, 20), (0, 9_000)];
        let generations =
            generations.map(|(floor, now)| add(&mut sm_config, floor, now).generation);
        assert_eq!(generations, [1_000, 1_001, 1_002, 5_001, 9_000]);
    }

    #[test]
    fn two_hosts_that_read_the_same_log_race_for_the_same_key() {
        let log = Log::default();
        let (mine, _) = log.next(&VDI, &me(), "pool".to_owned(), 0, 1_000);
        let (theirs, _) = log.next(&VDI, &me(), "pool".to_owned(), 0, 2_000);
        assert_eq!(mine, theirs);
    }

    #[test]
    fn a_claim_holds_until_its_own_generation_is_released() {
        let mut sm_config = SmConfig::new();
        let first = add(&mut sm_config, 0, 1_000);
        sm_config.insert(released_key(first.generation), String::new());
        assert_eq!(Log::read(&VDI, &sm_config).unwrap().open(), None);
        let second = add(&mut sm_config, 0, 1_000);
        assert_eq!(Log::read(&VDI, &sm_config).unwrap().open(), Some(&second));
    }

    #[test]
    fn an_entry_that_was_copied_from_another_vdi_claims_nothing() {
        let mut sm_config = SmConfig::new();
        add(&mut sm_config, 0, 1_000);
        let copy = Log::read(&Uuid::from_u128(2), &sm_config).unwrap();
        assert_eq!(copy.open(), None);
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_named_and_stops_everything() {
        let sm_config = SmConfig::from([("crucible_claim_7".to_owned(), "{".to_owned())]);
        let error = Log::read(&VDI, &sm_config).unwrap_err().to_string();
        assert!(error.contains("crucible_claim_7"), "{error}");
    }
}
