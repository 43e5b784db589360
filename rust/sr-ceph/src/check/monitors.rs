//! Whether this host's kernel reaches the monitors and the OSDs, with the protocol that it will use.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use hostdev::KernelRelease;
use librbd::{Cluster, Monitor};
use serde_json::{json, Value};
use sr::check::Outcome;

use crate::device_config::DeviceConfig;
use crate::messenger::{self, Route};

/// How long a monitor may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// Chooses the protocol as an activation does, and tries each address.
pub(super) fn monitors(cluster: &Cluster, config: &DeviceConfig) -> Outcome {
    let monitors = match cluster.monitors() {
        Ok(monitors) => monitors,
        Err(error) => return Outcome::failed(error.to_string(), "ceph mon dump"),
    };
    let kernel = match KernelRelease::running() {
        Ok(kernel) => kernel,
        Err(error) => return Outcome::failed(error.to_string(), "mount /proc"),
    };
    let route = match messenger::route(&monitors, config.ms_mode(), &kernel) {
        Ok(route) => route,
        Err(error) => return Outcome::failed(error.to_string(), error.remedy()),
    };
    let osds = cluster.mon_command(&json!({"prefix": "osd dump", "format": "json"}));
    let osds = osds.map_or_else(|_| Vec::new(), |dump| osds_out_of_reach(&dump, &route));
    judge(&monitors, &route, &silent(&route.addresses), &osds)
}

fn judge(monitors: &[Monitor], route: &Route, silent: &[String], osds: &[String]) -> Outcome {
    let version = route.ms_mode.version();
    let mode = route.ms_mode.name();
    if silent.len() == route.addresses.len() {
        let port = if version == 2 { 3300 } else { 6789 };
        return Outcome::failed(
            format!(
                "the kernel speaks v{version} (ms_mode={mode}), and no monitor accepts a connection at {}",
                silent.join(", ")
            ),
            format!("open port {port} of the monitors to this host, or choose another device-config:ms_mode"),
        );
    }
    // From Linux 5.11 on one OSD without such an address is enough to make the map unreadable.
    if !osds.is_empty() {
        return Outcome::warning(
            format!(
                "the kernel speaks v{version} (ms_mode={mode}), and these OSDs have no such address: {}",
                osds.join(", ")
            ),
            format!("ceph config set osd ms_bind_msgr{version} true, and restart them"),
        );
    }
    if !route.unused.is_empty() {
        return Outcome::warning(
            format!(
                "this kernel cannot use {}: no v1 address",
                route.unused.join(", ")
            ),
            "ceph mon set-addrs NAME '[v2:ADDRESS:3300,v1:ADDRESS:6789]'",
        );
    }
    if !silent.is_empty() {
        return Outcome::warning(
            format!(
                "these addresses of monitors accept no connection: {}",
                silent.join(", ")
            ),
            "see which monitors are down: ceph mon stat",
        );
    }
    let names: Vec<_> = monitors.iter().map(|mon| mon.name.as_str()).collect();
    Outcome::Ok(format!(
        "the kernel reaches {} by v{version} (ms_mode={mode})",
        names.join(", ")
    ))
}

/// Returns the addresses that accept no connection.
fn silent(addresses: &[String]) -> Vec<String> {
    let accepted = thread::scope(|scope| {
        let tries: Vec<_> = addresses
            .iter()
            .map(|address| scope.spawn(|| accepts(address)))
            .collect();
        let joined = tries.into_iter().map(|tried| tried.join().unwrap_or(false));
        joined.collect::<Vec<_>>()
    });
    let pairs = addresses.iter().zip(accepted);
    pairs
        .filter(|(_, accepted)| !accepted)
        .map(|(address, _)| address.clone())
        .collect()
}

fn accepts(address: &str) -> bool {
    let address: Option<SocketAddr> = address.parse().ok();
    address.is_some_and(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
}

/// Returns the OSDs that are up but have no address of the protocol's version that the kernel will use.
fn osds_out_of_reach(dump: &[u8], route: &Route) -> Vec<String> {
    let kind = format!("v{}", route.ms_mode.version());
    let dump: Value = serde_json::from_slice(dump).unwrap_or_default();
    let osds = dump["osds"].as_array().map_or(&[][..], Vec::as_slice);
    let lacks = |osd: &&Value| {
        let addresses = osd["public_addrs"]["addrvec"].as_array();
        let has = |list: &Vec<Value>| list.iter().any(|address| address["type"] == kind);
        osd["up"] == 1 && addresses.is_some_and(|list| !has(list))
    };
    osds.iter()
        .filter(lacks)
        .map(|osd| format!("osd.{}", osd["osd"]))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use hostdev::MsMode;

    use super::*;

    fn route(ms_mode: MsMode, addresses: &[&str]) -> Route {
        Route {
            ms_mode,
            addresses: addresses.iter().map(|&text| text.to_owned()).collect(),
            unused: Vec::new(),
        }
    }

    #[test]
    fn a_monitor_is_silent_if_it_accepts_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let closed = "127.0.0.1:1".to_owned();
        assert_eq!(silent(&[open, closed.clone()]), [closed]);
    }

    #[test]
    fn one_silent_monitor_is_a_warning_and_all_of_them_a_failure() {
        let route = route(MsMode::PreferCrc, &["10.0.0.1:3300", "10.0.0.2:3300"]);
        let text = |silent: &[String]| judge(&[], &route, silent, &[]).on("monitors").to_string();
        assert!(text(&route.addresses[..1]).starts_with("warning"));
        let all = text(&route.addresses);
        assert!(all.starts_with("FAILED"), "{all}");
        assert!(all.contains("10.0.0.1:3300, 10.0.0.2:3300"), "{all}");
        assert!(all.contains("open port 3300"), "{all}");
        assert!(text(&[]).starts_with("ok"));
    }

    #[test]
    fn osds_without_the_kernels_version_are_named() {
        let osd = |id: u8, up: u8, kinds: &[&str]| {
            let addresses: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
            json!({"osd": id, "up": up, "public_addrs": {"addrvec": addresses}})
        };
        let dump = json!({"osds": [
            osd(0, 1, &["v2", "v1"]),
            osd(1, 1, &["v1"]),
            osd(2, 0, &["v1"]),
            osd(3, 1, &["v2"]),
        ]});
        let dump = dump.to_string();
        let lacking = |mode| osds_out_of_reach(dump.as_bytes(), &route(mode, &["10.0.0.1:3300"]));
        assert_eq!(lacking(MsMode::PreferCrc), ["osd.1"]);
        assert_eq!(lacking(MsMode::Legacy), ["osd.3"]);
    }
}
