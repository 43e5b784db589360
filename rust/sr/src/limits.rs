//! How many requests and bytes a second a disk may have: keys of a VDI's `other_config`, and the defaults of an SR in its
//! device-config.
//!
//! A limit holds for reads, and as much again for writes: the kernel has no limit for both together. See
//! [`hostos::throttle`] for where it is set. A limit that cannot be set never prevents the start of a VM.

use std::collections::BTreeMap;
use std::path::Path;

use hostos::throttle::{ControlGroups, Device, Limits, ThrottleError};
use serde::Serialize;

use crate::device_config::{shown, Problem};

/// The keys of a VDI's `other_config`.
pub const IOPS_KEY: &str = "smblock:iops";
/// See [`IOPS_KEY`].
pub const MBPS_KEY: &str = "smblock:mbps";
/// The value of a VDI that has no limit, also if its SR has a default.
pub const NO_LIMIT: &str = "none";

/// The kernel keeps the number of requests in 32 bits.
const MOST_IOPS: u64 = 1_000_000_000;
const MOST_MBPS: u64 = 1_000_000;
/// Bytes of `mbps`.
const MEGABYTE: u64 = 1_000_000;

/// A limit of a VDI that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key}={} is refused: {problem}, or '{NO_LIMIT}' for no limit",
    shown(value)
)]
pub struct BadLimit {
    /// The key of the VDI's `other_config`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it, and what is right.
    pub problem: Problem,
}

impl BadLimit {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const ID: &'static str = "SMB-P004";
}

/// Reads `device-config:iops`.
///
/// # Errors
/// It is no whole number from 1 to a thousand million.
pub fn iops(value: &str) -> Result<u64, Problem> {
    whole(value, MOST_IOPS, "requests a second")
}

/// Reads `device-config:mbps`.
///
/// # Errors
/// It is no whole number from 1 to a million.
pub fn mbps(value: &str) -> Result<u64, Problem> {
    whole(value, MOST_MBPS, "megabytes (1,000,000 bytes) a second")
}

fn whole(value: &str, most: u64, unit: &str) -> Result<u64, Problem> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value
        .parse()
        .ok()
        .filter(|number| digits && (1..=most).contains(number));
    number
        .ok_or_else(|| Problem::Meaning(format!("give a whole number of {unit}, from 1 to {most}")))
}

/// The limits of a disk, for reads, and as much again for writes. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DiskLimits {
    /// Requests a second.
    pub iops: Option<u64>,
    /// Megabytes a second.
    pub mbps: Option<u64>,
}

impl DiskLimits {
    /// The limits of a VDI. `self` are those of its SR, which hold for a key that it does not have.
    ///
    /// # Errors
    /// [`BadLimit`].
    pub fn of_vdi(self, other_config: &BTreeMap<String, String>) -> Result<Self, BadLimit> {
        let (limits, mut bad) = self.usable(other_config);
        match bad.pop() {
            Some(bad) => Err(bad),
            None => Ok(limits),
        }
    }

    /// As [`DiskLimits::of_vdi`], with the SR's limit in the place of each that cannot be used.
    fn usable(self, other_config: &BTreeMap<String, String>) -> (Self, Vec<BadLimit>) {
        type Parse = fn(&str) -> Result<u64, Problem>;
        let mut bad = Vec::new();
        let mut read = |key: &'static str, parse: Parse, default: Option<u64>| {
            let Some(value) = other_config.get(key).filter(|value| *value != NO_LIMIT) else {
                return default.filter(|_| !other_config.contains_key(key));
            };
            match parse(value) {
                Ok(limit) => Some(limit),
                Err(problem) => {
                    let value = value.clone();
                    bad.push(BadLimit {
                        key,
                        value,
                        problem,
                    });
                    default
                }
            }
        };
        let limits = DiskLimits {
            iops: read(IOPS_KEY, iops, self.iops),
            mbps: read(MBPS_KEY, mbps, self.mbps),
        };
        (limits, bad)
    }

    /// Returns them as JSON.
    #[must_use]
    pub fn json(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }

    fn for_kernel(self) -> Limits {
        Limits {
            iops: self.iops,
            bytes: self.mbps.map(|mbps| mbps * MEGABYTE),
        }
    }

    fn of_kernel(limits: Limits) -> Self {
        DiskLimits {
            iops: limits.iops,
            mbps: limits.bytes.map(|bytes| bytes / MEGABYTE),
        }
    }
}

/// What was done about the limits of a disk on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limited {
    /// What the disk is to have.
    pub wanted: DiskLimits,
    /// What holds; `None` if it is not known.
    pub held: Option<DiskLimits>,
    /// What is wrong: limits that cannot be read or set.
    pub problems: Vec<String>,
}

impl Limited {
    /// Returns it as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Sets the limits of a VDI that this host uses. `defaults` are the SR's, `device` is its block device, and `tapdisk` the
/// process that reads and writes it, if there is one.
#[must_use]
pub fn limit(
    defaults: DiskLimits,
    other_config: &BTreeMap<String, String>,
    device: &Path,
    tapdisk: Option<u32>,
) -> Limited {
    let set = |groups: &ControlGroups, device: &Device, wanted| groups.set(device, wanted);
    act(defaults, other_config, device, tapdisk, set)
}

fn act(
    defaults: DiskLimits,
    other_config: &BTreeMap<String, String>,
    node: &Path,
    tapdisk: Option<u32>,
    act: impl FnOnce(&ControlGroups, &Device, Limits) -> Result<Limits, ThrottleError>,
) -> Limited {
    let (wanted, bad) = defaults.usable(other_config);
    let mut problems: Vec<_> = bad
        .iter()
        .map(|bad| format!("{bad} ({})", BadLimit::ID))
        .collect();
    let done = ControlGroups::of_host()
        .map_err(ThrottleError::from)
        .and_then(|groups| {
            let device = Device::of(node, tapdisk)?;
            act(&groups, &device, wanted.for_kernel())
        });
    let held = match done {
        Ok(held) => Some(DiskLimits::of_kernel(held)),
        Err(failed) => {
            problems.push(format!("{failed} ({})", failed.id()));
            None
        }
    };
    Limited {
        wanted,
        held,
        problems,
    }
}

/// As [`limit`], and changes nothing.
#[must_use]
pub fn look(
    defaults: DiskLimits,
    other_config: &BTreeMap<String, String>,
    device: &Path,
    tapdisk: Option<u32>,
) -> Limited {
    let get = |groups: &ControlGroups, device: &Device, _| groups.get(device);
    act(defaults, other_config, device, tapdisk, get)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    const SR: DiskLimits = DiskLimits {
        iops: Some(1000),
        mbps: None,
    };

    #[test]
    fn a_vdis_limit_precedes_its_srs() {
        let of = |given: &[(&str, &str)]| SR.of_vdi(&pairs(given)).unwrap();
        assert_eq!(of(&[("other", "0")]), SR);
        assert_eq!(of(&[(IOPS_KEY, "7"), (MBPS_KEY, "9")]).iops, Some(7));
        assert_eq!(of(&[(MBPS_KEY, "9")]).mbps, Some(9));
        assert_eq!(of(&[(MBPS_KEY, "9")]).iops, Some(1000));
        assert_eq!(of(&[(IOPS_KEY, "none")]), DiskLimits::default());
    }

    #[test]
    fn a_bad_limit_is_refused_with_the_key_and_what_to_give() {
        for value in [
            "0",
            "-1",
            "+1",
            "1.5",
            "10k",
            "",
            " 7",
            "99999999999999999999",
        ] {
            let error = SR.of_vdi(&pairs(&[(IOPS_KEY, value)])).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("smblock:iops="), "{text}");
            assert!(text.contains("whole number"), "{text}");
            assert!(iops(value).is_err() && mbps(value).is_err());
            let (limits, bad) = SR.usable(&pairs(&[(IOPS_KEY, value)]));
            assert_eq!((limits, bad.len()), (SR, 1), "the SR's limit holds");
        }
        assert_eq!(mbps("1000000"), Ok(1_000_000));
        assert!(mbps("1000001").is_err());
    }

    #[test]
    fn a_device_that_does_not_exist_is_a_problem_and_no_panic() {
        let found = limit(SR, &pairs(&[(MBPS_KEY, "x")]), Path::new("/dev/none"), None);
        assert_eq!((found.wanted, found.held), (SR, None));
        assert_eq!(found.problems.len(), 2);
        assert!(found.problems[0].contains("SMB-P004"), "{found:?}");
        assert!(found.problems[1].contains("/dev/none"), "{found:?}");
    }
}
