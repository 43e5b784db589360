//! librados and librbd, opened at run time, behind a safe API.
//!
//! ```no_run
//! use librbd::{Cluster, ConnectOptions, ImageRef};
//!
//! # fn main() -> librbd::Result<()> {
//! let cluster = Cluster::connect(&ConnectOptions::new("xcp"))?;
//! let pool = cluster.pool("rbd")?;
//! let image = pool.image_open(&ImageRef::Name("vm-disk"), true)?;
//! assert!(image.size()? > 0);
//! image.close()
//! # }
//! ```
//!
//! # Guarantees
//!
//! * **Ownership.** An [`Image`] holds its [`Pool`], a `Pool` its [`Cluster`]; a drop closes. No handle can
//!   outlive another one that it depends on, and none is closed twice.
//! * **Threads.** Clusters, pools and images can be used from several threads: librados and librbd have
//!   locks. Unsafe actions in C (a change of an ioctx in use) have no safe function here.
//! * **Deadlines.** Every call to a cluster ends within the connection's timeout and two seconds, by this
//!   host's clock, also if the libraries hang. The explanation of an error takes up to three seconds more.
//!   For a long call, the deadline restarts with each report of progress. A change without a result may have
//!   been made, or may still be made: see [`Error::is_outcome_unknown`].
//! * **A full pool.** When the quota is reached, operations that free space or need none still succeed. The
//!   others fail with EDQUOT instead of blocking.
//! * **Secrets** are masked in all output: see [`Secret`].
//!
//! # Limits
//!
//! A call is not cancelled: a late one is abandoned, and ends with the process. Only [`Image::diff`] ends at its
//! next extent. This crate does not prevent a second writer of an image. Names and texts of a cluster that are
//! not UTF-8 have replacement characters. After a fork, the child must not use a connection of the parent.
//!
//! `unsafe` is limited to the calls of C functions. Each states why it is sound.

mod blocklist;
mod buffer;
pub mod calls;
mod change;
mod clone;
mod cluster;
mod command;
mod connect;
mod connection_failure;
mod contents;
mod deadline;
mod diff;
mod error;
mod ffi;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group;
mod header;
mod image;
mod images;
mod in_flight;
mod judge;
mod library;
mod lock;
mod locks;
mod meta;
mod mon_host;
mod monitors;
mod objects;
mod omap;
mod options;
mod pool;
mod progress;
#[cfg(test)]
mod prototypes;
mod rename;
mod shell;
mod silence;
mod snapshot;
mod snapshots;
mod sources;
mod trash;
mod watchers;
mod write_op;

pub use blocklist::BlocklistEntry;
pub use clone::{LinkedImage, Parent};
pub use cluster::Cluster;
pub use connect::inspect;
pub use connection_failure::{Cause, ConnectionFailure};
pub use contents::ImageInfo;
pub use diff::{Diff, Extent};
pub use error::{is_outcome_unknown, Error, Result};
pub use files::Fault;
pub use group::{Group, GroupSnapshot};
pub use header::Header;
pub use image::{Image, ImageRef};
pub use images::{CreateOptions, ImageEntry};
pub use in_flight::guard_exit;
pub use library::{Library, Versions};
pub use lock::{Lock, LockOwner};
pub use mon_host::{is_mon_host_entry, mon_host_entries};
pub use monitors::Monitor;
pub use omap::{OmapCursor, OmapPage, OmapUpdate};
pub use options::{ConnectOptions, Secret};
pub use pool::Pool;
pub use progress::Progress;
pub use shell::quoted;
pub use snapshot::{SnapId, Snapshot, SnapshotKind, SnapshotRef};
pub use sources::{CephFile, Sources, CONF, KEYRING};
pub use trash::{TrashEntry, TrashSource};
pub use watchers::Watcher;
