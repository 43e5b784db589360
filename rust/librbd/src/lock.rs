//! The lock on an image, and the command that removes one that was set by hand.

use std::fmt;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::shell::quoted;

/// The name of the one lock that librbd, kernels and `rbd lock add` use.
pub(crate) const LOCK_NAME: &str = "rbd_lock";

/// The tag and the prefix of the cookies of the lock of librbd and krbd.
const OWN_TAG: &str = "internal";
const OWN_COOKIE: &str = "auto ";

/// The lock on an image's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The owners: several if it is shared.
    pub owners: Vec<LockOwner>,
    /// Its tag; `internal` for the automatic lock.
    pub tag: String,
}

/// A client that holds a lock, or that ended without releasing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOwner {
    /// Its name: `client.4123`.
    pub client: String,
    /// The lock's id, for `rbd lock rm`.
    pub cookie: String,
}

impl Lock {
    /// Returns the first owner of a lock that was set by hand; `None` for the lock of librbd or a kernel. A
    /// lock set by hand stays until it is removed.
    pub fn set_by_hand(&self) -> Option<&LockOwner> {
        let mut owners = self.owners.iter();
        owners.find(|owner| self.tag != OWN_TAG || !owner.cookie.starts_with(OWN_COOKIE))
    }

    /// Fails with the error of a call if this lock, set by hand, prevents it.
    pub(crate) fn refuse(&self, call: &'static str, place: &Place) -> Result<()> {
        match self.set_by_hand() {
            None => Ok(()),
            Some(owner) => Err(Error::Call {
                call,
                object: place.to_string(),
                errno: Errno::EBUSY as i32,
                detail: Some(owner.remedy(place)),
            }),
        }
    }
}

impl LockOwner {
    /// Returns a description of the lock, and the command that removes it.
    pub(crate) fn remedy(&self, place: &Place) -> String {
        let (client, cookie) = (&self.client, quoted(&self.cookie));
        let remove = match place {
            Place::Named(path) => {
                let path = quoted(path);
                // A name that starts with a dash looks like an option.
                match self.cookie.starts_with('-') {
                    true => format!("rbd lock rm -- {path} {cookie} {client}"),
                    false => format!("rbd lock rm {path} {cookie} {client}"),
                }
            }
            // `rbd lock` does not support image ids.
            Place::Unnamed {
                pool,
                namespace,
                id,
            } => {
                let mut pool = quoted(pool);
                if !namespace.is_empty() {
                    pool += &format!(" --namespace {}", quoted(namespace));
                }
                format!("rados -p {pool} lock break rbd_header.{id} {LOCK_NAME} {client} --lock-cookie {cookie}")
            }
        };
        format!(
            "{client} holds the lock '{}', which was set by hand and stays until it is removed; \
             if its owner does not need it, remove it: {remove}",
            self.cookie
        )
    }
}

/// How a command of Ceph identifies an image.
pub(crate) enum Place {
    /// By its pool and name, `POOL/IMAGE`.
    Named(String),
    /// By its id: it is in the trash, or has no name.
    Unnamed {
        pool: String,
        namespace: String,
        id: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Named(path) => f.write_str(path),
            Place::Unnamed { pool, id, .. } => write!(f, "{pool}/id {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(tag: &str, cookie: &str) -> Lock {
        Lock {
            owners: vec![LockOwner {
                client: "client.4123".to_owned(),
                cookie: cookie.to_owned(),
            }],
            tag: tag.to_owned(),
        }
    }

    #[test]
    fn each_lock_but_the_automatic_one_is_set_by_hand() {
        assert_eq!(lock("internal", "auto 94").set_by_hand(), None);
        for by_hand in [
            lock("", "mylock"),
            lock("internal", "x"),
            lock("", "auto 1"),
        ] {
            assert!(by_hand.set_by_hand().is_some(), "{by_hand:?}");
        }
        let none = Lock {
            owners: vec![],
            tag: String::new(),
        };
        assert_eq!(none.set_by_hand(), None);
    }

    #[test]
    fn the_error_of_a_locked_image_has_the_command_that_unlocks_it() {
        let unnamed = Place::Unnamed {
            namespace: String::new(),
            pool: "vms".to_owned(),
            id: "10a4".to_owned(),
        };
        for (place, command) in [
            (Place::Named("vms/a".to_owned()), "rbd lock rm vms/a 'my lock' client.4123"),
            (unnamed, "rados -p vms lock break rbd_header.10a4 rbd_lock client.4123 --lock-cookie 'my lock'"),
        ] {
            let refused = lock("", "my lock").refuse("rbd_trash_move", &place);
            let text = refused.map_err(|error| error.to_string()).unwrap_err();
            assert!(text.contains("EBUSY"), "{text}");
            assert!(text.contains(command), "{text}");
        }
    }
}
