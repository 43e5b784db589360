//! The administrator's pre-flight: whether this host can serve an SR with a device-config. Each part that
//! fails has the command that fixes it.
//!
//! Nothing is changed, except that the kernel's rbd module is loaded. Requests that an authorised cluster
//! refuses for another reason show what a user may do. One connection is made. Every wait has a deadline.

mod caps;
mod ceph;
mod defaults;
mod fencing;
mod files;
mod local;
mod monitors;
mod topics;
mod unreachable;

use std::time::Duration;

use hostdev::Krbd;
use librbd::ConnectOptions;
use sr::check::CheckLine;

use crate::caps::Caps;
use crate::device_config::DeviceConfig;

/// Checks this host, and the cluster as seen from it, with the driver's own deadline. `others`: the
/// device-configs of this host's other SRs. A shared user must keep the caps for their pools.
#[must_use]
pub fn check(config: &DeviceConfig, others: &[DeviceConfig]) -> Vec<CheckLine> {
    check_beside(config, others, ConnectOptions::DEFAULT_TIMEOUT)
}

/// As [`check`], with another `deadline` for connecting and for each request after that.
#[cfg(feature = "sim")]
#[must_use]
pub fn check_within(config: &DeviceConfig, deadline: Duration) -> Vec<CheckLine> {
    check_beside(config, &[], deadline)
}

fn check_beside(
    config: &DeviceConfig,
    others: &[DeviceConfig],
    deadline: Duration,
) -> Vec<CheckLine> {
    let mut lines = local::prerequisites(config, &Caps::new(config, others).make(), deadline);
    let blocked = lines.iter().find(|line| line.is_failure());
    let cluster = match blocked {
        None => ceph::lines(config, &Caps::new(config, others), deadline),
        Some(line) => topics::not_run(&topics::TOPICS, &format!("fix {} first", line.topic)),
    };
    for line in cluster {
        // A fault of a file that connecting has found is shown on the line of that file.
        match lines.iter_mut().find(|other| other.topic == line.topic) {
            Some(other) => *other = line,
            None => lines.push(line),
        }
    }
    lines.extend(local::kernel(config, &Krbd::new(), deadline));
    lines
}
