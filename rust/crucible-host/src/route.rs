//! The route to the servers' loopback address.
//!
//! A Crucible server answers each request in three small writes and lets TCP hold back the last of
//! them until the first is acknowledged, which the receiver delays by 40 ms: 22 requests a second.
//! With `quickack` on the route the receiver acknowledges at once. The address is the servers' own,
//! so no other traffic of this host changes.

use std::path::Path;
use std::time::Duration;

use hostos::command;

use crate::port::ADDRESS;

const DEADLINE: Duration = Duration::from_secs(5);
/// Where CentOS 7, later ones and Debian have it.
const IP: [&str; 2] = ["/usr/sbin/ip", "/sbin/ip"];

/// Makes the route to [`ADDRESS`] acknowledge at once. It may be called any number of times. A
/// failure is logged: volumes then work, slowly.
pub fn quick_ack() {
    let Some(ip) = IP.map(Path::new).into_iter().find(|ip| ip.exists()) else {
        log::warn!(
            "no {} here: volumes are slow without quickack on the route to {ADDRESS}",
            IP[0]
        );
        return;
    };
    let address = ADDRESS.to_string();
    let arguments = [
        "route", "replace", "local", &address, "dev", "lo", "table", "local", "scope", "host",
        "proto", "static", "quickack", "1",
    ];
    let failure = match command::run(ip, &arguments, Vec::new(), DEADLINE) {
        Ok(output) if output.success => return,
        Ok(output) => output.complaint(),
        Err(error) => hostos::errno::describe_io(&error),
    };
    log::warn!(
        "volumes are slow: `{} {}` failed: {failure}",
        ip.display(),
        arguments.join(" ")
    );
}
