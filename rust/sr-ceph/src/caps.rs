//! What a cephx user must be allowed to do, and what an error of the cluster says about that.

use std::collections::BTreeSet;

use crate::device_config::DeviceConfig;
use crate::error::Error;
use crate::pool::PoolError;

/// A user, and the pools that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    user: String,
    /// The pool of the SR in question.
    pool: String,
    /// That one, and those of other SRs with the same user.
    pools: BTreeSet<String>,
}

/// Which part of the cluster a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Mon,
    Mgr,
    Osd,
}

/// Why the cluster did not do what was asked, as far as caps may be the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The user's caps do not allow it.
    Denied,
    /// No OSD replied. Ceph from 18.2.7 on lets a user without osd caps wait, too.
    DeniedOrDown,
}

impl Caps {
    /// Of the user in a device-config. `others`: the device-configs of this host's other SRs.
    #[must_use]
    pub fn new(config: &DeviceConfig, others: &[DeviceConfig]) -> Self {
        let pool = config.pool().unwrap_or("POOL").to_owned();
        let same = others.iter().filter(|other| other.user() == config.user());
        let pools = same.filter_map(|other| Some(other.pool()?.to_owned()));
        Caps {
            user: config.user().to_owned(),
            pools: pools.chain([pool.clone()]).collect(),
            pool,
        }
    }

    /// Of a user in one pool.
    #[must_use]
    pub fn of(user: &str, pool: &str) -> Self {
        Caps {
            user: user.to_owned(),
            pool: pool.to_owned(),
            pools: BTreeSet::from([pool.to_owned()]),
        }
    }

    fn granted(&self) -> String {
        let rbd: Vec<_> = self
            .pools
            .iter()
            .map(|pool| format!("profile rbd pool={pool}"))
            .collect();
        let rbd = rbd.join(", ");
        format!(
            "client.{} mon 'profile rbd' osd '{rbd}' mgr '{rbd}'",
            self.user
        )
    }

    /// The command that makes the user.
    #[must_use]
    pub fn make(&self) -> String {
        format!("ceph auth get-or-create {}", self.granted())
    }

    /// How an existing user gets what it lacks, without losing what it has.
    #[must_use]
    pub fn grant(&self) -> String {
        format!(
            "on a node of the cluster: ceph auth get client.{}; then, with what that shows beside \
             these caps added, since the command replaces all caps of the user: ceph auth caps {}",
            self.user,
            self.granted()
        )
    }

    /// What an administrator can do about an error for which caps may be the cause.
    #[must_use]
    pub fn advise(&self, error: &Error) -> Option<String> {
        let Error::Ceph { source, .. } = error.cause() else {
            return None;
        };
        self.advise_on(source)
    }

    pub(crate) fn advise_on(&self, error: &PoolError) -> Option<String> {
        let lacks = self.lacks(error)?;
        Some(format!(
            "{lacks}: {}. 'smblock-admin check' shows whether that is enough",
            self.grant()
        ))
    }

    /// Which cap the user lacks, or may lack, if that can be the cause of an error.
    pub(crate) fn lacks(&self, error: &PoolError) -> Option<String> {
        let (user, pool) = (&self.user, &self.pool);
        let cap = match service(&error.call) {
            Service::Mon => "mon 'profile rbd'".to_owned(),
            Service::Mgr => format!("mgr 'profile rbd pool={pool}'"),
            Service::Osd => format!("osd 'profile rbd pool={pool}'"),
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

fn service(call: &str) -> Service {
    match call {
        "rados_mon_command" | "rados_blocklist_add" | "rados_blacklist_add" => Service::Mon,
        "rados_mgr_command" => Service::Mgr,
        _ => Service::Osd,
    }
}

/// Whether caps may be the cause of an errno.
fn cause(call: &str, errno: i32) -> Option<Cause> {
    match errno {
        // It returns EPERM for an image that may not be freed yet.
        _ if call == "rbd_trash_remove" => None,
        nix::libc::EPERM | nix::libc::EACCES => Some(Cause::Denied),
        // A user without caps does not get as far as librbd's calls. Those wait for a lock, too.
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
