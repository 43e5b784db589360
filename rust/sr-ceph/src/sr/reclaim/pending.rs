//! What is still to be done before all space is freed, and what it waits for.

use std::fmt;

use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::chain::SOFT_DEPTH;
use crate::error::Migrating;
use crate::pool::Entries;
use crate::record::{newer, ImageRef, Newer};
use crate::size::Size;

/// Work that frees space, or that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The image it is about.
    pub image: ImageRef,
    /// What is to be done.
    pub kind: Kind,
    /// What has to happen first; `None`: it can be done now.
    pub waits_for: Option<Blocker>,
    /// The virtual size in bytes of the work; 0 if it takes no time.
    pub size: u64,
}

/// What is to be done about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// smblock has moved it to the trash: it is to be purged.
    Trashed,
    /// It was moved to the trash outside smblock: it is left alone.
    TrashedOutside,
    /// A hidden image: its head is no VDI any more. The head's data is freed, then it waits until its
    /// snapshots are gone, then it is moved to the trash.
    Hidden {
        /// Virtual size of the head in bytes; 0: its data is freed.
        size: u64,
        /// The number of its snapshots, with those that Ceph keeps only for clones.
        snapshots: usize,
    },
    /// Its clone chain is too long: it is to be flattened. That frees the clone chain of its head; the
    /// parents stay as long as a snapshot of it needs them.
    LongChain {
        /// The disk.
        vdi: Uuid,
        /// The number of parents.
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
        /// Snapshots that are no VDIs, and from which changed blocks are listed.
        tracking: usize,
        /// Deleted snapshots that Ceph keeps only for clones.
        by_clones: usize,
        /// The commands that remove the snapshots that smblock has not taken, or that list them.
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
    /// The disk has snapshots, which would need its clone chain after a flatten.
    OwnSnapshots {
        /// How many.
        count: usize,
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
    /// The catalogue holds a value of a newer version that may name the image.
    Newer {
        /// The value's key.
        key: String,
        /// Its version.
        source: Newer,
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
            waits_for: None,
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
                "VDI {vdi} has a clone chain of {depth} parents, and is to be flattened (more than {SOFT_DEPTH} are slow)"
            ),
        }
    }
}

impl Kind {
    /// The text when it is done.
    pub fn done(&self) -> &'static str {
        match self {
            Kind::Trashed => "its space is free",
            Kind::TrashedOutside => "left alone",
            Kind::Hidden { snapshots: 0, .. } => {
                "moved to the trash, because nothing needs it any more"
            }
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
                tracking,
                by_clones,
                foreign,
                path,
            } => {
                f.write_str("it is freed after its last snapshot: ")?;
                write!(f, "{vdis} VDI(s), {by_clones} that only clones need")?;
                if *tracking > 0 {
                    write!(f, ", {tracking} that changed-block tracking needs")?;
                }
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
                "client {address} has it open: it is freed when the client closes it, or 30 s after the client died"
            ),
            Blocker::InUse { host } => {
                write!(f, "host {host} uses it: it is done when the disk is not in use")
            }
            Blocker::OwnSnapshots { count } => write!(
                f,
                "it has {count} snapshot(s): it is flattened after the last of them is deleted"
            ),
            Blocker::Named { key, pool, id } => write!(
                f,
                "the key {key} of the catalogue names it: 'rbd trash restore --pool {pool} {id}' brings it back"
            ),
            Blocker::Outside { pool, id } => write!(
                f,
                "'rbd trash restore --pool {pool} {id}' brings it back, 'rbd trash rm --pool {pool} {id}' removes it with its data"
            ),
            Blocker::Newer { key, source } => write!(
                f,
                "the key {key} of the catalogue is of a newer version and may name it: {source}"
            ),
            Blocker::Unreadable {
                key,
                pool,
                catalogue,
            } => write!(
                f,
                "the key {key} of the catalogue cannot be read and may name it: write a copy of its value back, or remove the entry with 'rados -p {pool} rmomapkey {catalogue} {key}'"
            ),
        }
    }
}

impl Blocker {
    /// A value of the catalogue that cannot be read.
    pub(super) fn unreadable(
        catalogue: &Catalogue<'_>,
        pool: &str,
        key: String,
        entries: &Entries,
    ) -> Self {
        if let Some(source) = entries.get(&key).and_then(|value| newer(value)) {
            return Blocker::Newer { key, source };
        }
        Blocker::Unreadable {
            key,
            pool: pool.to_owned(),
            catalogue: catalogue.object(),
        }
    }
}
