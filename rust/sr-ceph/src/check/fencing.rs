//! What fencing needs: the cap to blocklist clients, and clocks that an administrator can trust.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostdev::Krbd;
use librbd::Cluster;
use sr::check::Outcome;

use crate::blocklist::is_cut_off;
use crate::image_features::ImageFeatures;

/// smblock does not compare the clocks of hosts. But administrators compare the times in logs, and cephx
/// tickets expire.
const SKEW: Duration = Duration::from_secs(5);

/// Checks how far this host's clock is from the monitors' clocks.
pub(super) fn clock(cluster: &Cluster) -> Outcome {
    let before = SystemTime::now();
    let (reply, expiry) = match cluster.blocklist_reply() {
        Ok(reply) => reply,
        Err(error) => return Outcome::failed(error.to_string(), "grant the mon caps first"),
    };
    let here = before + before.elapsed().unwrap_or_default() / 2;
    let Some(there) = time_in(&reply).map(|until| until - expiry) else {
        return Outcome::Ok("the monitors do not show their time zone; not compared".to_owned());
    };
    let (skew, side) = match here.duration_since(there) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if skew < SKEW {
        return Outcome::Ok(format!("within {} s of the monitors'", SKEW.as_secs()));
    }
    Outcome::warning(
        format!(
            "this host's clock is {} {side} the monitors'",
            humantime::format_duration(Duration::from_secs(skew.as_secs()))
        ),
        "synchronise it: chronyc makestep (or ntpdate), and 'ceph time-sync-status' on a node",
    )
}

/// Checks whether a kernel client of this host is on the blocklist.
pub(super) fn cut_off(cluster: &Cluster, krbd: &Krbd) -> Outcome {
    let (entries, mappings) = match (cluster.blocklisted(), krbd.mappings()) {
        (Ok(entries), Ok(mappings)) => (entries, mappings),
        (Err(error), _) => return Outcome::failed(error.to_string(), "ceph osd dump"),
        (_, Err(error)) => return Outcome::failed(error.to_string(), "ls /sys/bus/rbd/devices"),
    };
    let blocklist: Vec<_> = entries.into_iter().map(|entry| entry.address).collect();
    let dead = mappings.iter();
    let dead = dead.filter(|m| is_cut_off(&blocklist, &m.client_address));
    let dead: Vec<_> = dead.map(|m| m.device.display().to_string()).collect();
    if dead.is_empty() {
        return Outcome::Ok("no device of this host is cut off".to_owned());
    }
    Outcome::failed(
        format!(
            "this host was treated as dead, and {} can no longer reach the cluster",
            dead.join(", ")
        ),
        "shut down the VMs that use these disks (I/O errors are expected) and start them again, or \
         reboot this host",
    )
}

/// Checks whether the kernel fences a dead host before it takes an image's lock.
pub(super) fn lock(features: ImageFeatures) -> Outcome {
    if features.bits() & ImageFeatures::EXCLUSIVE_LOCK.bits() != 0 {
        return Outcome::Ok("new images have exclusive-lock".to_owned());
    }
    Outcome::warning(
        "new images lack exclusive-lock: only smblock's own claims and the blocklist prevent writes of a host \
         that was cut off",
        "device-config:image_features=layering,exclusive-lock",
    )
}

/// The time in `blocklisting ADDRESS until 2026-11-29T01:00:01.000000+0000 (1 sec)`.
fn time_in(reply: &str) -> Option<SystemTime> {
    let (_, rest) = reply.split_once(" until ")?;
    let text = rest.split_whitespace().next()?;
    let at = text
        .rfind(['+', '-'])
        .filter(|at| *at > "2026-11-29T".len())?;
    let (local, zone) = text.split_at(at);
    let hours: u64 = zone.get(1..3)?.parse().ok()?;
    let minutes: u64 = zone.get(3..5)?.parse().ok()?;
    let offset = Duration::from_secs(hours * 3600 + minutes * 60);
    let time = humantime::parse_rfc3339_weak(&format!("{local}Z")).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let since = match zone.starts_with('+') {
        true => since.checked_sub(offset)?,
        false => since + offset,
    };
    Some(UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitors_time_is_read_with_its_zone() {
        let seconds = |text: &str| {
            let reply = format!("blocklisting 192.0.2.0:0/1 until {text} (1 sec)");
            time_in(&reply)
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                .map(|t| t.as_secs())
        };
        let utc = seconds("2026-11-29T01:00:01.250000+0000");
        assert_eq!(utc, Some(1_795_914_001));
        assert_eq!(seconds("2026-11-29T02:00:01.250000+0100"), utc);
        assert_eq!(seconds("2026-11-28T20:30:01.250000-0430"), utc);
        assert_eq!(seconds("2026-11-29 01:00:01.250000"), None);
    }
}
