//! Why a connection failed, and its monitors, files and key.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::mon_host;
use crate::options::ConnectOptions;
use crate::sources::Sources;

/// The time to look up the names of monitors again, to find those that do not resolve.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a connection failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Neither the Ceph configuration nor the device-config names the monitors.
    ///
    /// Fix: Set `mon_host` in /etc/ceph/ceph.conf, or set device-config:mon_host.
    NoMonitors,
    /// An entry of `mon_host` is not the address of a monitor.
    ///
    /// Fix: Correct `mon_host` in the file, or in the device-config, that the text names.
    BadMonitors(String),
    /// These names of monitors do not resolve.
    ///
    /// Fix: Use IP addresses in `mon_host`, or fix the DNS of this host.
    UnknownHosts(Vec<String>),
    /// No keyring file of this host has a key of the user.
    ///
    /// Fix: Copy the output of `ceph auth get client.USER` to /etc/ceph/ceph.client.USER.keyring on this host.
    NoKey,
    /// The key is of a type that this librados does not support.
    ///
    /// Fix: Create a user with a key of type aes, or update ceph-common on this host.
    KeyType,
    /// No monitor replied in time.
    ///
    /// Fix: Compare the addresses with `ceph mon dump`, and open ports 3300 and 6789 of the monitors to this host.
    Silent,
    /// The monitors refused the user or its key.
    ///
    /// Fix: Compare the key with `ceph auth get client.USER` on a node of the cluster.
    Refused,
    /// The monitors and this client have no method of authentication in common.
    ///
    /// Fix: Set `auth_client_required = cephx` in /etc/ceph/ceph.conf on this host.
    NoMethod,
    /// The connection failed for another reason, which the text names.
    Other,
}

impl Cause {
    /// Returns the id of this error in docs/user/errors.md. An id is never used again.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::NoMonitors => "SMB-L020",
            Self::UnknownHosts(_) => "SMB-L021",
            Self::NoKey => "SMB-L022",
            Self::KeyType => "SMB-L023",
            Self::Silent => "SMB-L024",
            Self::Refused => "SMB-L025",
            Self::Other => "SMB-L026",
            Self::BadMonitors(_) => "SMB-L027",
            Self::NoMethod => "SMB-L028",
        }
    }
}

/// A connection that failed.
#[derive(Debug)]
pub struct ConnectionFailure {
    /// Why.
    pub cause: Cause,
    /// Its monitors, files and key.
    pub sources: Sources,
    user: String,
    seconds: u64,
    errno: Option<i32>,
    /// The text of the error of the call.
    call: String,
}

impl ConnectionFailure {
    /// `errno` and `call` are those of the error of the call.
    pub(crate) fn new(
        errno: Option<i32>,
        call: String,
        sources: Sources,
        options: &ConnectOptions,
    ) -> Self {
        Self {
            cause: cause(errno, &sources),
            sources,
            user: format!("client.{}", options.user),
            seconds: options.timeout_seconds(),
            errno,
            call,
        }
    }

    /// Returns the error number, positive.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// Returns the configuration file, which has the monitors unless the caller named them.
    pub fn conf(&self) -> Option<&PathBuf> {
        self.sources.conf.as_ref().map(|conf| &conf.path)
    }

    /// Returns the file with the user's key.
    pub fn key_file(&self) -> Option<&Path> {
        self.sources
            .keyring
            .as_ref()
            .map(|file| file.path.as_path())
    }

    /// The monitors, and the place that names them.
    fn monitors(&self) -> String {
        match &self.sources.monitors {
            Some(monitors) => format!("{monitors} ({})", self.place()),
            None => self.place(),
        }
    }

    fn place(&self) -> String {
        match self.conf() {
            Some(path) if !self.sources.monitors_were_given => {
                format!("mon_host in {}", path.display())
            }
            _ => "the given mon_host".to_owned(),
        }
    }

    /// The fault of the keyring.
    fn key_fault(&self) -> Option<String> {
        let file = self.sources.keyring.as_ref()?;
        let fault = file.refusal.as_ref()?;
        Some(format!("; {}: {fault}", file.path.display()))
    }

    fn reason(&self) -> Option<String> {
        let user = &self.user;
        let key_file = || {
            let file = self.sources.keyring.as_ref();
            file.map_or_else(String::new, |file| format!(" in {}", file.path.display()))
        };
        Some(match &self.cause {
            Cause::NoMonitors => {
                let conf = self.sources.conf.as_ref();
                let warning = conf.and_then(|conf| conf.warnings.first());
                let warning = warning.map_or_else(String::new, |fault| format!("; {fault}"));
                match conf {
                    Some(conf) => {
                        format!("mon_host is not set in {}{warning}", conf.path.display())
                    }
                    None => "mon_host is not set".to_owned(),
                }
            }
            Cause::BadMonitors(fault) => format!("{fault}; it is from {}", self.place()),
            Cause::UnknownHosts(names) => format!(
                "the host name {} does not resolve on this host; it is from {}",
                names.join(", "),
                self.place()
            ),
            Cause::NoKey => format!(
                "no key of {user} was found; looked at {}{}",
                self.sources.key_places(),
                self.key_fault().unwrap_or_default()
            ),
            Cause::KeyType => {
                let (user, number) = self.sources.newer_key.as_ref()?;
                format!(
                    "the key of {user}{} is of type {number}, which this librados does not support",
                    key_file()
                )
            }
            Cause::Silent => {
                let monitors = self.sources.monitors.as_deref().unwrap_or_default();
                let fault = mon_host::fault(monitors).or_else(|| mon_host::suspicion(monitors));
                format!(
                    "no monitor replied within {} s; tried {}{}",
                    self.seconds,
                    self.monitors(),
                    fault.map_or_else(String::new, |fault| format!("; {fault}"))
                )
            }
            Cause::Refused => format!(
                "the monitors refuse {user} with the key{}; tried {}",
                key_file(),
                self.monitors()
            ),
            Cause::NoMethod => format!(
                "the monitors support none of the methods in auth_client_required; tried {}",
                self.monitors()
            ),
            Cause::Other => format!("tried {}", self.monitors()),
        })
    }
}

impl std::error::Error for ConnectionFailure {}

impl fmt::Display for ConnectionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{} ({reason})", self.call),
            None => f.write_str(&self.call),
        }
    }
}

fn cause(errno: Option<i32>, sources: &Sources) -> Cause {
    let Some(errno) = errno.map(Errno::from_raw) else {
        return Cause::Other;
    };
    if errno == Errno::ETIMEDOUT {
        return Cause::Silent;
    }
    let Some(monitors) = &sources.monitors else {
        if errno == Errno::ENOENT && !sources.has_other_monitors {
            return Cause::NoMonitors;
        }
        return of_user(errno, sources);
    };
    if matches!(errno, Errno::EINVAL | Errno::ENOENT) {
        if let Some(fault) = mon_host::fault(monitors) {
            return Cause::BadMonitors(fault);
        }
        let unknown = unknown_hosts(monitors);
        if !unknown.is_empty() {
            return Cause::UnknownHosts(unknown);
        }
    }
    of_user(errno, sources)
}

fn of_user(errno: Errno, sources: &Sources) -> Cause {
    let is_refusal = matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EINVAL);
    match errno {
        Errno::EIO if sources.newer_key.is_some() => Cause::KeyType,
        Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EIO if sources.key.is_none() => Cause::NoKey,
        _ if is_refusal && sources.key.is_none() => Cause::NoKey,
        Errno::EINVAL if sources.newer_key.is_some() => Cause::KeyType,
        Errno::EOPNOTSUPP => Cause::NoMethod,
        _ if is_refusal => Cause::Refused,
        _ => Cause::Other,
    }
}

/// Returns the names in `mon_host` that do not resolve. Omits a name whose lookup takes too long.
fn unknown_hosts(mon_host: &str) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    let lookups: Vec<_> = host_names(mon_host)
        .into_iter()
        .map(|name| {
            let (sender, receiver) = mpsc::channel();
            let host = name.clone();
            // The resolver has its own deadlines, and cannot be stopped.
            std::thread::spawn(move || sender.send((host.as_str(), 0).to_socket_addrs().is_err()));
            (name, receiver)
        })
        .collect();
    let failed = lookups.into_iter().filter(|(_, receiver)| {
        let left = until.saturating_duration_since(Instant::now());
        receiver.recv_timeout(left).unwrap_or(false)
    });
    failed.map(|(name, _)| name).collect()
}

/// Returns the entries of `mon_host` that are names, not addresses.
fn host_names(mon_host: &str) -> Vec<String> {
    let separators = |c: char| ",; \t".contains(c);
    let mut names = Vec::new();
    for entry in mon_host.split(separators) {
        let entry = entry.trim_start_matches('[');
        let entry = ["v1:", "v2:", "any:"]
            .iter()
            .find_map(|messenger| entry.strip_prefix(messenger))
            .unwrap_or(entry);
        let entry = entry.split('/').next().unwrap_or_default();
        let entry = entry.trim_start_matches('[');
        let is_address = |text: &str| text.trim_end_matches(']').parse::<IpAddr>().is_ok();
        if is_address(entry) || entry.contains("]:") {
            continue;
        }
        let host = entry
            .trim_end_matches(']')
            .split(':')
            .next()
            .unwrap_or_default();
        if !host.is_empty() && !is_address(host) && !names.iter().any(|name| name == host) {
            names.push(host.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_excludes_addresses() {
        for (mon_host, names) in [
            ("192.0.2.1,192.0.2.2:6789", vec![]),
            (
                "[v2:192.0.2.1:3300/0,v1:192.0.2.1:6789/0] 192.0.2.2",
                vec![],
            ),
            (
                "fd00::1 [fd00::2]:6789 [v2:[fd00::3]:3300,v1:[fd00::3]:6789]",
                vec![],
            ),
            (
                "mon1 mon2:6789, mon1;v1:mon3.example.test:6789",
                vec!["mon1", "mon2", "mon3.example.test"],
            ),
            ("[v2:mon1:3300/0,v1:mon1:6789/0]", vec!["mon1"]),
            ("", vec![]),
        ] {
            assert_eq!(host_names(mon_host), names, "{mon_host}");
        }
    }

    #[test]
    fn unknown_hosts_returns_names_that_do_not_resolve() {
        let found = unknown_hosts("127.0.0.1,localhost,nosuch.invalid");
        assert_eq!(found, ["nosuch.invalid"]);
    }
}
