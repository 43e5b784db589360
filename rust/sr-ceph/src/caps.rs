//! The caps that a cephx user needs, and the cap that an error of the cluster may be about.

use std::collections::BTreeSet;

use crate::device_config::DeviceConfig;
use crate::error::Error;
use crate::pool::PoolError;

/// A user, and the pools that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    user: String,
    /// The pool of the SR in question, and its namespace.
    place: (String, String),
    /// The places of that SR, and of other SRs with the same user: their pools and data pools, each with its
    /// namespace.
    places: BTreeSet<(String, String)>,
}

/// The part of the cluster that serves a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Mon,
    Mgr,
    Osd,
}

/// Why caps may be the cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The user's caps do not allow it.
    Denied,
    /// No OSD replied. From Ceph 18.2.7 on, OSDs do not reply to a user without osd caps.
    DeniedOrDown,
}

impl Caps {
    /// The user of a device-config. `others`: the device-configs of this host's other SRs.
    #[must_use]
    pub fn new(config: &DeviceConfig, others: &[DeviceConfig]) -> Self {
        let pool = config.pool().unwrap_or("POOL").to_owned();
        let same = others.iter().filter(|other| other.user() == config.user());
        let served = same.chain([config]);
        let places = served.flat_map(|config| {
            let pools = [config.pool(), config.data_pool()].into_iter().flatten();
            pools.map(|pool| (pool.to_owned(), config.namespace().to_owned()))
        });
        let place = (pool, config.namespace().to_owned());
        Caps {
            user: config.user().to_owned(),
            places: places.chain([place.clone()]).collect(),
            place,
        }
    }

    /// A user of one pool, or of one namespace of it.
    #[must_use]
    pub fn of(user: &str, pool: &str, namespace: &str) -> Self {
        let place = (pool.to_owned(), namespace.to_owned());
        Caps {
            user: user.to_owned(),
            places: BTreeSet::from([place.clone()]),
            place,
        }
    }

    fn granted(&self) -> String {
        let rbd: Vec<_> = self.places.iter().map(profile).collect();
        let rbd = rbd.join(", ");
        format!(
            "client.{} mon 'profile rbd' osd '{rbd}' mgr '{rbd}'",
            self.user
        )
    }

    /// Returns the command that creates the user.
    #[must_use]
    pub fn make(&self) -> String {
        format!("ceph auth get-or-create {}", self.granted())
    }

    /// Returns how to add the missing caps to an existing user.
    #[must_use]
    pub fn grant(&self) -> String {
        format!(
            "on a node of the cluster, run: ceph auth get client.{}; then add the other caps that it shows to \
             the next command, because it replaces all caps of the user: ceph auth caps {}",
            self.user,
            self.granted()
        )
    }

    /// Returns what an administrator can do about an error that missing caps may cause.
    #[must_use]
    pub fn advise(&self, error: &Error) -> Option<String> {
        let Error::Ceph { source, .. } = error.cause() else {
            return None;
        };
        self.advise_on(source)
    }

    pub(crate) fn advise_on(&self, error: &PoolError) -> Option<String> {
        let mut lacks = self.lacks(error)?;
        let denied = error.errno != nix::libc::ETIMEDOUT;
        if denied && self.place.1.is_empty() && service(&error.call) == Service::Osd {
            lacks += ", or device-config:namespace must name the namespace of its caps";
        }
        Some(format!(
            "{lacks}: {}. Run 'smblock check' to see whether that is enough",
            self.grant()
        ))
    }

    /// Returns which cap the user lacks, or may lack. `None`: caps are not the cause of the error.
    pub(crate) fn lacks(&self, error: &PoolError) -> Option<String> {
        let (user, pool) = (&self.user, &self.place.0);
        let profile = profile(&self.place);
        let cap = match service(&error.call) {
            Service::Mon => "mon 'profile rbd'".to_owned(),
            Service::Mgr => format!("mgr '{profile}'"),
            Service::Osd => format!("osd '{profile}'"),
        };
        Some(match cause(&error.call, error.errno)? {
            Cause::Denied => format!("client.{user} lacks the cap {cap}"),
            Cause::DeniedOrDown => format!(
                "the OSDs of pool {pool} did not reply: see what is down, paused or inactive with \
                 'ceph health detail'. If nothing is, client.{user} lacks the cap {cap}, and Ceph from \
                 18.2.7 on does not reply without it"
            ),
        })
    }
}

/// The cap for a pool, or for one namespace of it.
fn profile((pool, namespace): &(String, String)) -> String {
    match namespace.as_str() {
        "" => format!("profile rbd pool={pool}"),
        _ => format!("profile rbd pool={pool} namespace={namespace}"),
    }
}

fn service(call: &str) -> Service {
    match call {
        "rados_mon_command" | "rados_blocklist_add" | "rados_blacklist_add" => Service::Mon,
        "rados_mgr_command" => Service::Mgr,
        _ => Service::Osd,
    }
}

/// Returns whether missing caps may be the cause of an errno.
fn cause(call: &str, errno: i32) -> Option<Cause> {
    match errno {
        // This call returns EPERM for an image that may not be freed yet.
        _ if call == "rbd_trash_remove" => None,
        nix::libc::EPERM | nix::libc::EACCES => Some(Cause::Denied),
        // A user without caps fails before librbd's calls. These can time out because of a lock, too.
        nix::libc::ETIMEDOUT if call.starts_with("rbd_") => None,
        nix::libc::ETIMEDOUT if service(call) == Service::Osd => Some(Cause::DeniedOrDown),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use nix::libc::{EACCES, EIO, EPERM, ETIMEDOUT};

    fn config(pairs: &[(&str, &str)]) -> DeviceConfig {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        DeviceConfig::parse(owned).unwrap()
    }

    fn caps() -> Caps {
        let others = [
            config(&[("pool", "db"), ("ceph_user", "xcp")]),
            config(&[("pool", "iso"), ("ceph_user", "another")]),
        ];
        Caps::new(&config(&[("pool", "vms"), ("ceph_user", "xcp")]), &others)
    }

    #[test]
    fn the_command_keeps_the_pools_of_the_users_other_srs() {
        let rbd = "'profile rbd pool=db, profile rbd pool=vms'";
        let text = caps().grant();
        let command = format!("ceph auth caps client.xcp mon 'profile rbd' osd {rbd} mgr {rbd}");
        assert!(text.ends_with(&command), "{text}");
        assert!(text.contains("ceph auth get client.xcp;"), "{text}");
        assert!(text.contains("replaces all caps"), "{text}");
    }

    #[test]
    fn the_caps_of_an_sr_in_a_namespace_are_for_that_namespace_only() {
        let pairs = [
            ("pool", "vms"),
            ("namespace", "a"),
            ("data_pool", "ec"),
            ("user", "xcp"),
        ];
        let caps = Caps::new(
            &config(&pairs),
            &[config(&[("pool", "vms"), ("user", "xcp")])],
        );
        let rbd = "'profile rbd pool=ec namespace=a, profile rbd pool=vms, profile rbd pool=vms namespace=a'";
        let command = format!("client.xcp mon 'profile rbd' osd {rbd} mgr {rbd}");
        assert_eq!(caps.granted(), command);
        let text = caps
            .advise_on(&PoolError::new("rados_stat", "x", EPERM))
            .unwrap();
        let lacks = "client.xcp lacks the cap osd 'profile rbd pool=vms namespace=a': ";
        assert!(text.starts_with(lacks), "{text}");
    }

    #[test]
    fn a_refusal_names_the_cap_with_user_and_pool() {
        for (call, errno, cap) in [
            ("rados_stat", EPERM, "osd 'profile rbd pool=vms'"),
            ("rados_blocklist_add", EACCES, "mon 'profile rbd'"),
            ("rados_mon_command", EACCES, "mon 'profile rbd'"),
            ("rados_mgr_command", EACCES, "mgr 'profile rbd pool=vms'"),
        ] {
            let text = caps().advise_on(&PoolError::new(call, "x", errno));
            let text = text.unwrap();
            let named = format!("client.xcp lacks the cap {cap}");
            assert!(text.starts_with(&named), "{text}");
        }
    }

    #[test]
    fn an_osd_that_does_not_reply_may_be_a_missing_cap() {
        let error = PoolError::new("rados_write_op_operate", "rbd_trash", ETIMEDOUT);
        let text = caps().advise_on(&error).unwrap();
        assert!(text.contains("ceph health detail"), "{text}");
        let cap = "client.xcp lacks the cap osd 'profile rbd pool=vms'";
        assert!(text.contains(cap), "{text}");
        for (call, errno) in [
            ("rados_mon_command", ETIMEDOUT),
            ("rados_mgr_command", ETIMEDOUT),
            ("rados_stat", EIO),
            ("rbd_trash_move", ETIMEDOUT),
            ("rbd_trash_remove", EPERM),
        ] {
            let none = caps().advise_on(&PoolError::new(call, "x", errno));
            assert_eq!(none, None, "{call}");
        }
    }
}
