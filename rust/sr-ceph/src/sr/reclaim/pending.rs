//! What is still to be done before all space is given back, and what it waits for.

use std::fmt;

use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::chain::SOFT_DEPTH;
use crate::error::Migrating;
use crate::record::ImageRef;
use crate::size::Size;

/// Something that reclaim does, or that it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The image it is about.
    pub image: ImageRef,
    /// What is to be done.
    pub kind: Kind,
    /// What has to happen first; `None`: it can be done now.
    pub holds_up: Option<Blocker>,
    /// The virtual size in bytes of what is to be done; 0 if it takes no time.
    pub size: u64,
}

/// What is to be done about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// smblock has moved it to the trash, and it is to be purged.
    Trashed,
    /// It is in the trash, and smblock has not moved it there: it is left alone.
    TrashedOutside,
    /// No VDI is its head any more. The head's data is to be freed, then it waits for its snapshots
    /// to go, then it goes to the trash.
    Hidden {
        /// Virtual size of the head in bytes: 0 where its data is freed.
        size: u64,
        /// How many snapshots it has, with those that only clones keep.
        snapshots: usize,
    },
    /// It has too many parents, one behind the other, and is to be flattened. That frees the chain of
    /// its head; the parents stay as long as a snapshot of it needs them.
    LongChain {
        /// The disk.
        vdi: Uuid,
        /// Parents.
        depth: u32,
    },
}

/// What has to happen before something can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// Others depend on the image.
    Snapshots {
        /// Snapshots of it that are VDIs.
        vdis: usize,
        /// Snapshots that were deleted and that only clones keep.
        by_clones: usize,
        /// The commands that remove the snapshots which this driver has not taken, or that list
        /// them.
        foreign: Vec<String>,
        /// The image, `POOL/IMAGE`.
        path: String,
    },
    /// Clients have the image open, or died less than 30 s ago.
    Open {
        /// The first one's address.
        address: String,
    },
    /// The disk is in use.
    InUse {
        /// The UUID of the host that uses it.
        host: String,
    },
    /// The image is in the trash, and a VDI's record names it.
    Named {
        /// The record's key in the catalogue.
        key: String,
        /// The pool.
        pool: String,
        /// The image's id.
        id: String,
    },
    /// The image is being migrated, and a VDI's record names it.
    Migrating(Migrating),
    /// The image is in the trash, smblock has not moved it there, and nothing names it.
    Outside {
        /// The pool.
        pool: String,
        /// The image's id.
        id: String,
    },
    /// The catalogue holds a value that cannot be read, and that may name the image.
    Unreadable {
        /// The value's key.
        key: String,
        /// The pool.
        pool: String,
        /// The catalogue's object.
        catalogue: String,
    },
}

impl Kind {
    pub(super) fn of(self, image: &ImageRef) -> Pending {
        let size = match self {
            Kind::Hidden { size, .. } => size,
            _ => 0,
        };
        Pending {
            image: image.clone(),
            kind: self,
            holds_up: None,
            size,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Trashed => f.write_str("deleted, its space is to be freed"),
            Kind::TrashedOutside => {
                f.write_str("moved to the trash outside smblock; left alone")
            }
            Kind::Hidden { size: 0, .. } => f.write_str("deleted, and its own data is freed"),
            Kind::Hidden { size, .. } => write!(
                f,
                "deleted, and others need its snapshots; its own data (of {} virtual size) is to be freed",
                Size(*size)
            ),
            Kind::LongChain { vdi, depth } => write!(
                f,
                "VDI {vdi} has {depth} parents, one behind the other, and is to be flattened (more than {SOFT_DEPTH} are slow)"
            ),
        }
    }
}

impl Kind {
    /// What is told when it is done.
    pub fn done(&self) -> &'static str {
        match self {
            Kind::Trashed => "its space is free",
            Kind::TrashedOutside => "left alone",
            Kind::Hidden { snapshots: 0, .. } => "moved to the trash, as nobody needs it any more",
            Kind::Hidden { .. } => "its own data is freed; its snapshots stay",
            Kind::LongChain { .. } => "flattened",
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocker::Snapshots {
                vdis,
                by_clones,
                foreign,
                path,
            } => {
                f.write_str("it goes with the last of its snapshots: ")?;
                write!(f, "{vdis} VDI(s), {by_clones} that only clones need")?;
                if *by_clones > 0 {
                    write!(f, " ('rbd children --all {path}' lists the clones)")?;
                }
                if foreign.is_empty() {
                    return Ok(());
                }
                let count = foreign.len();
                write!(
                    f,
                    ", {count} that smblock has not taken ('rbd snap ls --all {path}' lists them; to remove them: {})",
                    foreign.join("; ")
                )
            }
            Blocker::Migrating(migrating) => migrating.fmt(f),
            Blocker::Open { address } => write!(
                f,
                "client {address} has it open: it goes when that one closes it, or 30 s after it died"
            ),
            Blocker::InUse { host } => {
                write!(f, "host {host} uses it: it is done while it is not in use")
            }
            Blocker::Named { key, pool, id } => write!(
                f,
                "the key {key} of the catalogue names it: 'rbd trash restore --pool {pool} {id}' brings it back"
            ),
            Blocker::Outside { pool, id } => write!(
                f,
                "'rbd trash restore --pool {pool} {id}' brings it back, 'rbd trash rm --pool {pool} {id}' removes it with its data"
            ),
            Blocker::Unreadable {
                key,
                pool,
                catalogue,
            } => write!(
                f,
                "the key {key} of the catalogue cannot be read and may name it: write a copy of its value back, or give the entry up with 'rados -p {pool} rmomapkey {catalogue} {key}'"
            ),
        }
    }
}

impl Blocker {
    /// A value of the catalogue that cannot be read.
    pub(super) fn unreadable(catalogue: &Catalogue<'_>, pool: &str, key: String) -> Self {
        Blocker::Unreadable {
            key,
            pool: pool.to_owned(),
            catalogue: catalogue.object(),
        }
    }
}
