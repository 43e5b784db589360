//! What is still to be done before all space is given back, and what it waits for.

use std::cell::LazyCell;
use std::fmt;

use uuid::Uuid;

use super::named::Named;
use super::trash::Trash;
use super::SOFT_DEPTH;
use crate::catalogue::{records, Stored, HIDDEN_PREFIX, VDI_PREFIX};
use crate::cluster::Entries;
use crate::error::{Context, Error, Migrating, Result};
use crate::record::{HiddenRecord, ImageRef, VdiRecord};
use crate::size::Size;
use crate::Repository;

/// Something that reclaim does, or that it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The image it is about.
    pub image: ImageRef,
    /// What is to be done.
    pub kind: Kind,
    /// What has to happen first; `None`: it can be done now.
    pub holds_up: Option<HoldUp>,
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
pub enum HoldUp {
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

impl fmt::Display for HoldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldUp::Snapshots {
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
            HoldUp::Migrating(migrating) => migrating.fmt(f),
            HoldUp::Open { address } => write!(
                f,
                "client {address} has it open: it goes when that one closes it, or 30 s after it died"
            ),
            HoldUp::InUse { host } => {
                write!(f, "host {host} uses it: it is done while it is not in use")
            }
            HoldUp::Named { key, pool, id } => write!(
                f,
                "the key {key} of the catalogue names it: 'rbd trash restore --pool {pool} {id}' brings it back"
            ),
            HoldUp::Outside { pool, id } => write!(
                f,
                "'rbd trash restore --pool {pool} {id}' brings it back, 'rbd trash rm --pool {pool} {id}' removes it with its data"
            ),
            HoldUp::Unreadable {
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

/// The disks among a catalogue's entries, as far as they can be read.
pub(crate) fn heads(entries: &Entries) -> impl Iterator<Item = Stored<VdiRecord>> + '_ {
    records(entries, VDI_PREFIX).filter(|stored: &Stored<VdiRecord>| {
        let volume = &stored.record.volume;
        volume.snapshot().is_none()
    })
}

impl Repository<'_> {
    /// What is still to be done, and what waits. Changes nothing.
    pub fn pending(&self) -> Result<Vec<Pending>> {
        let entries = self.read_catalogue()?;
        let mut pending = self.pending_among(self.look_at_trash(&entries)?, &entries, true)?;
        for each in &mut pending {
            if matches!(each.kind, Kind::Trashed | Kind::LongChain { .. }) {
                each.size = match self.cluster.size(&each.image.id) {
                    Err(e) if e.is_not_found() => 0,
                    other => {
                        other.doing(&format!("reading the size of image {}", each.image.name))?
                    }
                };
            }
        }
        // The smallest first: a large one takes hours, and the others need not wait for it.
        pending.sort_by_key(|each| each.size);
        Ok(pending)
    }

    /// `waiting`: also the hidden images that only wait for their snapshots to go, each with who
    /// holds it up. That takes opening it.
    pub(super) fn pending_among(
        &self,
        trash: Trash,
        entries: &Entries,
        waiting: bool,
    ) -> Result<Vec<Pending>> {
        let mut pending = trash.pending;
        let named = LazyCell::new(|| Named::by(entries));
        for hidden in records::<HiddenRecord>(entries, HIDDEN_PREFIX) {
            let mut hidden = self.hidden(&hidden.record.image, entries, waiting)?;
            if let (Some(key), Some(hidden)) = (named.unreadable(), &mut hidden) {
                hidden.holds_up = Some(self.unreadable(key.to_owned()));
            }
            pending.extend(hidden);
        }
        for disk in heads(entries).filter(|disk| disk.record.depth > SOFT_DEPTH) {
            let VdiRecord { uuid, depth, .. } = disk.record;
            let kind = Kind::LongChain { vdi: uuid, depth };
            let claim = disk.record.claim.as_ref();
            pending.push(Pending {
                // Flattening is safe beside a kernel that has the disk mapped, but takes the
                // image's lock from it again and again: a running VM would feel that.
                holds_up: claim.map(|claim| HoldUp::InUse {
                    host: claim.owner.host.clone(),
                }),
                ..kind.of(disk.record.volume.image())
            });
        }
        Ok(pending)
    }

    fn hidden(
        &self,
        image: &ImageRef,
        entries: &Entries,
        waiting: bool,
    ) -> Result<Option<Pending>> {
        let doing = format!("looking at hidden image {}", image.name);
        let (size, snapshots) = match self.cluster.header(&image.id) {
            Ok(header) => (header.size, header.snapshots),
            Err(e) if e.is_not_found() => match self.moved_to(image) {
                Ok(None) => (0, 0),
                // The next scan takes the image over, once that is possible.
                Ok(Some(_)) | Err(Error::ByHand(_)) => return Ok(None),
                Err(e) => return Err(e),
            },
            Err(e) => return Err(e).doing(&doing),
        };
        let kind = Kind::Hidden { size, snapshots };
        let holds_up = match (size, snapshots) {
            (0, 1..) if !waiting => return Ok(None),
            (0, 1..) => match self.cluster.users(&image.id) {
                Err(e) if e.is_not_found() => return Ok(None), // freed this moment
                users => Some(self.who_needs(image, &users.doing(&doing)?.snapshots, entries)?),
            },
            _ => self.who_has_open(image)?,
        };
        Ok(Some(Pending {
            holds_up,
            ..kind.of(image)
        }))
    }

    fn who_has_open(&self, image: &ImageRef) -> Result<Option<HoldUp>> {
        let watchers = match self.cluster.watchers(&image.id) {
            Err(e) if e.is_not_found() => return Ok(None),
            other => other.doing(&format!("listing the watchers of image {}", image.name))?,
        };
        let first = watchers.into_iter().next();
        Ok(first.map(|watcher| HoldUp::Open {
            address: watcher.address,
        }))
    }
}
