//! How the kernel reaches a cluster: the protocol, and the monitors' addresses for it.
//!
//! A kernel client uses one version of the messenger protocol. From Linux 5.11 on, it looks for an address of
//! that version in the entry of *every* monitor and OSD. If one has none, the kernel cannot read the map of
//! the cluster at all. Monitors send older kernels a list in the older form, in which only a monitor without
//! a v1 address is unreachable.

use hostdev::{KernelRelease, MsMode};
use librbd::Monitor;
use nix::errno::Errno;
use thiserror::Error;

/// The mode if the device-config has none, and the monitors support it.
const DEFAULT: MsMode = MsMode::PreferCrc;

/// How a kernel reaches the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The mode of its connections.
    pub ms_mode: MsMode,
    /// The monitors' addresses for that mode: those of one monitor first, then the next.
    pub addresses: Vec<String>,
    /// The monitors that the kernel cannot use, by name.
    pub unused: Vec<String>,
}

/// Why the kernel cannot reach the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoRoute {
    /// The device-config requests a mode that only newer kernels have.
    #[error("device-config:ms_mode={} needs Linux 5.11 or newer, and this host runs Linux {release}", .mode.name())]
    OldKernel {
        /// The mode.
        mode: MsMode,
        /// The kernel.
        release: String,
    },
    /// Monitors have no address for the version of the protocol that the kernel will use.
    #[error("{} no v{version} address, {reason}", .monitors.have())]
    NoAddress {
        /// The version.
        version: u8,
        /// Those without one.
        monitors: Without,
        /// Why one is needed.
        reason: String,
    },
}

impl NoRoute {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::OldKernel { .. } => "SMB-C105",
            Self::NoAddress { .. } => "SMB-C106",
        }
    }
}

/// Monitors without an address of some version. For each, there is a command that adds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without(Vec<(String, String)>);

impl Without {
    fn have(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        match names.as_slice() {
            [name] => format!("monitor {name} has"),
            _ => format!("monitors {} have", names.join(", ")),
        }
    }
}

impl NoRoute {
    /// EPROTONOSUPPORT (93): both sides have no protocol in common.
    #[must_use]
    pub fn errno(&self) -> i32 {
        Errno::EPROTONOSUPPORT as i32
    }

    /// How to fix it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::OldKernel { .. } => {
                "leave device-config:ms_mode out for this host, or set it to legacy".to_owned()
            }
            Self::NoAddress {
                version, monitors, ..
            } => {
                let commands = monitors.0.iter().map(|(_, command)| command.clone());
                let osds = format!(
                    "if `ceph osd dump` shows OSDs without a v{version} address: ceph config set osd \
                     ms_bind_msgr{version} true, and restart them"
                );
                format!("{}; {osds}", commands.collect::<Vec<_>>().join(" && "))
            }
        }
    }
}

/// Chooses how a kernel reaches these monitors. `wanted`: the mode in the device-config.
///
/// # Errors
/// [`NoRoute`].
pub fn route(
    monitors: &[Monitor],
    wanted: Option<MsMode>,
    kernel: &KernelRelease,
) -> Result<Route, NoRoute> {
    let release = &kernel.name;
    if !kernel.speaks_v2() {
        return match wanted.filter(|mode| mode.speaks_v2()) {
            Some(mode) => Err(NoRoute::OldKernel {
                mode,
                release: release.clone(),
            }),
            None if monitors.iter().any(|monitor| !monitor.v1.is_empty()) => {
                Ok(build(monitors, MsMode::Legacy))
            }
            None => Err(no_address(
                monitors,
                1,
                format!("and Linux {release} cannot use v2 (Linux 5.11 can)"),
            )),
        };
    }
    match wanted {
        Some(mode) if all_have(monitors, mode.version()) => Ok(build(monitors, mode)),
        Some(mode) => Err(no_address(
            monitors,
            mode.version(),
            format!("which device-config:ms_mode={} needs", mode.name()),
        )),
        None if all_have(monitors, 2) => Ok(build(monitors, DEFAULT)),
        None if all_have(monitors, 1) => Ok(build(monitors, MsMode::Legacy)),
        None => Err(no_address(
            monitors,
            2,
            "and others have no v1 address: the kernel uses one version for all".to_owned(),
        )),
    }
}

fn addresses(monitor: &Monitor, version: u8) -> &[String] {
    match version {
        1 => &monitor.v1,
        _ => &monitor.v2,
    }
}

fn all_have(monitors: &[Monitor], version: u8) -> bool {
    let has = |monitor| !addresses(monitor, version).is_empty();
    monitors.iter().all(has)
}

fn build(monitors: &[Monitor], ms_mode: MsMode) -> Route {
    let of = |monitor| addresses(monitor, ms_mode.version());
    let unused = monitors.iter().filter(|monitor| of(monitor).is_empty());
    Route {
        ms_mode,
        addresses: monitors.iter().flat_map(of).cloned().collect(),
        unused: unused.map(|monitor| monitor.name.clone()).collect(),
    }
}

fn no_address(monitors: &[Monitor], version: u8, reason: String) -> NoRoute {
    let without = monitors
        .iter()
        .filter(|monitor| addresses(monitor, version).is_empty());
    NoRoute::NoAddress {
        version,
        monitors: Without(without.map(|m| (m.name.clone(), enable(m))).collect()),
        reason,
    }
}

/// The command that gives a monitor both versions. The monitor restarts by itself.
fn enable(monitor: &Monitor) -> String {
    let hosts = monitor.v2.iter().chain(&monitor.v1).filter_map(|address| {
        let (host, _) = address.rsplit_once(':')?;
        Some(host)
    });
    let port = |addresses: &[String], default: &str| {
        let port = addresses.first().and_then(|a| a.rsplit_once(':'));
        port.map_or_else(|| default.to_owned(), |(_, port)| port.to_owned())
    };
    let host = hosts.into_iter().next().unwrap_or("ADDRESS");
    let (v2, v1) = (port(&monitor.v2, "3300"), port(&monitor.v1, "6789"));
    format!(
        "ceph mon set-addrs {} '[v2:{host}:{v2},v1:{host}:{v1}]'",
        monitor.name
    )
}

#[cfg(test)]
#[path = "messenger_tests.rs"]
mod tests;
