//! The route to the servers' loopback address.
//!
//! A Crucible server replies to each request in three small writes. TCP sends the last one when the first
//! is acknowledged, and the receiver delays that by 40 ms: 22 requests a second. With `quickack` on the
//! route, the receiver acknowledges at once. Only these servers use the address, so no other traffic of
//! this host changes.

use std::path::Path;
use std::time::Duration;

use hostos::command;

use crate::port::ADDRESS;

const DEADLINE: Duration = Duration::from_secs(5);
/// The paths on CentOS 7 and later, and on Debian.
const IP: [&str; 2] = ["/usr/sbin/ip", "/sbin/ip"];

/// Sets `quickack` on the route to [`ADDRESS`]. A repeated call changes nothing. A failure is logged:
/// volumes then work, but are slow.
pub fn quick_ack() {
    let Some(ip) = IP.map(Path::new).into_iter().find(|ip| ip.exists()) else {
        log::warn!(
            "this host has no {}: volumes are slow without quickack on the route to {ADDRESS}; install \
             the package iproute",
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
        Ok(output) => output.failure(),
        Err(error) => hostos::errno::describe_io(&error),
    };
    log::warn!(
        "volumes are slow: `{} {}` failed: {failure}",
        ip.display(),
        arguments.join(" ")
    );
}
