//! Connecting to the cluster of a device-config, and how to fix a connection that failed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use librbd::{Cause, Cluster, ConnectOptions, ConnectionFailure, Error};

use crate::caps::Caps;
use crate::device_config::DeviceConfig;

/// Connects to the cluster of a device-config.
pub fn connect(config: &DeviceConfig, timeout: Duration) -> crate::Result<Cluster> {
    let options = connect_options(config, timeout);
    Cluster::connect(&options).map_err(|source| crate::Error::Unreachable {
        fix: fix(&source, config),
        source,
    })
}

/// How to connect to the cluster of a device-config.
pub(crate) fn connect_options(config: &DeviceConfig, timeout: Duration) -> ConnectOptions {
    ConnectOptions {
        conf: config.ceph_conf().map(ToOwned::to_owned),
        keyring: config.keyring().map(ToOwned::to_owned),
        mon_host: config.mon_host().map(ToOwned::to_owned),
        timeout,
        ..ConnectOptions::new(config.user())
    }
}

/// Returns the fix of a connection error. `None`: the error's own text has the fix, or there is none.
pub(crate) fn fix(error: &Error, config: &DeviceConfig) -> Option<String> {
    match error {
        Error::NoConnection(failure) => of_failure(failure, config),
        Error::File { role, path, .. } if *role == librbd::CONF => Some(name_monitors(Some(path))),
        Error::File { role, path, .. } if *role == librbd::KEYRING => {
            Some(get_key(Some(path), config))
        }
        Error::File { path, .. } => Some(format!(
            "on a node of the cluster: ceph auth get-key client.{}; put its output into {} here",
            config.user(),
            path.display()
        )),
        _ => None,
    }
}

/// Returns the fix of a connection that failed.
pub(crate) fn of_failure(failure: &ConnectionFailure, config: &DeviceConfig) -> Option<String> {
    let user = config.user();
    match &failure.cause {
        Cause::NoMonitors => Some(name_monitors(failure.conf().map(PathBuf::as_path))),
        Cause::UnknownHosts(names) => {
            let name = names.first()?;
            Some(format!(
                "see what 'getent hosts {name}' prints; correct the name, DNS or /etc/hosts, or write the \
                 addresses that 'ceph mon dump' prints on a node of the cluster"
            ))
        }
        Cause::BadMonitors(_) => Some(
            "write the addresses that 'ceph mon dump' prints on a node of the cluster; an IPv6 address \
             with a port is [ADDRESS]:PORT"
                .to_owned(),
        ),
        Cause::NoMethod => Some(
            "remove auth_client_required from Ceph's configuration on this host, and on a node of the \
             cluster run: ceph config rm client auth_client_required"
                .to_owned(),
        ),
        Cause::KeyType => Some(make_aes_key(user)),
        Cause::NoKey => Some(get_key(failure.key_file(), config)),
        Cause::Refused => Some(format!(
            "{}. If that key is there already, the user lacks caps: {}",
            get_key(failure.key_file(), config),
            Caps::new(config, &[]).grant()
        )),
        // A monitor of Ceph 20 may close a connection of messenger v1 before its refusal of a key is sent.
        Cause::Silent => Some(format!(
            "compare the addresses with 'ceph mon dump' on a node of the cluster; open ports 6789 and 3300 \
             (monitors), 6800 to 7300 (OSDs) to this host; compare the key with 'ceph auth get client.{user}'"
        )),
        Cause::Other => None,
    }
}

/// How to put the monitors into a configuration file.
pub(crate) fn name_monitors(conf: Option<&Path>) -> String {
    let conf = conf.unwrap_or(Path::new("/etc/ceph/ceph.conf")).display();
    format!(
        "on a node of the cluster: ceph config generate-minimal-conf; put its output into {conf} here, or \
         give device-config:mon_host=ADDRESS,ADDRESS"
    )
}

/// How to get a key that every librados and every kernel supports.
pub(crate) fn make_aes_key(user: &str) -> String {
    format!(
        "on a node of the cluster: ceph mon set auth_allowed_ciphers aes,aes256k; ceph config set mon \
         mon_auth_allow_insecure_key true; then make a user with a key of type 1 (in place of client.{user}): \
         ceph auth get-or-create client.NAME CAPS --key-type aes"
    )
}

/// How to put the user's key on this host. `used`: the file that librados reads the key from now.
pub(crate) fn get_key(used: Option<&Path>, config: &DeviceConfig) -> String {
    let user = config.user();
    let place = place_for_key(used, config);
    let file = place.file.display();
    let get = format!(
        "on a node of the cluster: ceph auth get client.{user}; put its output into {file} here, mode 0600"
    );
    match (place.is_new, place.file.exists()) {
        (false, _) => get,
        (true, true) => {
            format!("device-config:keyring={file}, if that file has this cluster's key")
        }
        (true, false) => format!("{get}, and give device-config:keyring={file}"),
    }
}

struct Place {
    file: PathBuf,
    /// Whether the device-config must name the file.
    is_new: bool,
}

/// The file for the user's key. A default file may hold the key of another cluster, so it is proposed only
/// for the cluster of the default configuration.
fn place_for_key(used: Option<&Path>, config: &DeviceConfig) -> Place {
    let user = config.user();
    let named = |file: &Path, is_new| Place {
        file: file.to_owned(),
        is_new,
    };
    if let Some(file) = config.keyring() {
        return named(file, false);
    }
    let default = config.default_keyring();
    let directory = Path::new("/etc/ceph");
    let is_shared = |file: &Path| {
        let shared = ["ceph.keyring", "keyring", "keyring.bin"].map(|name| directory.join(name));
        file == default || shared.iter().any(|name| name == file)
    };
    match used {
        // Ceph's configuration names it.
        Some(file) if !is_shared(file) => named(file, false),
        _ if !config.is_default_cluster() => {
            let cluster = config.ceph_conf().and_then(Path::file_stem);
            let cluster = cluster.and_then(|stem| stem.to_str());
            let cluster = cluster.filter(|stem| *stem != "ceph").unwrap_or("other");
            named(
                &directory.join(format!("{cluster}.client.{user}.keyring")),
                true,
            )
        }
        Some(file) => named(file, false),
        None => named(&default, false),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn advice(pairs: &[(&str, &str)], used: Option<&str>) -> String {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = DeviceConfig::parse(pairs).unwrap();
        get_key(used.map(Path::new), &config)
    }

    #[test]
    fn the_advice_for_a_key_names_the_file_in_use() {
        let default = "/etc/ceph/ceph.client.xcp.keyring";
        for (pairs, used, file) in [
            (&[("user", "xcp")][..], None, default),
            (&[("user", "xcp")][..], Some(default), default),
            (&[("user", "xcp")][..], Some("/srv/keyring"), "/srv/keyring"),
            (
                &[("user", "xcp"), ("conf", "/etc/ceph/ceph.conf")][..],
                None,
                default,
            ),
            (
                &[("user", "xcp"), ("keyring", "/srv/k")][..],
                Some("/srv/k"),
                "/srv/k",
            ),
        ] {
            let text = advice(pairs, used);
            assert!(
                text.ends_with(&format!("into {file} here, mode 0600")),
                "{text}"
            );
        }
    }

    #[test]
    fn the_advice_for_a_second_cluster_names_a_file_of_its_own() {
        let shared = [
            "/etc/ceph/ceph.client.xcp.keyring",
            "/etc/ceph/keyring",
            "/etc/ceph/ceph.keyring",
        ];
        for used in shared.map(Some).into_iter().chain([None]) {
            for (pair, file) in [
                (
                    ("conf", "/etc/ceph/nosuch-backup.conf"),
                    "/etc/ceph/nosuch-backup.client.xcp.keyring",
                ),
                (
                    ("mon_host", "192.0.2.1"),
                    "/etc/ceph/other.client.xcp.keyring",
                ),
                (
                    ("conf", "/srv/ceph.conf"),
                    "/etc/ceph/other.client.xcp.keyring",
                ),
            ] {
                let text = advice(&[("user", "xcp"), pair], used);
                assert!(text.contains(&format!("into {file} here")), "{text}");
                assert!(
                    text.ends_with(&format!("device-config:keyring={file}")),
                    "{text}"
                );
            }
        }
    }
}
