//! This host's operating system, for all crates above: time limits, processes, files.
//!
//! - [`deadline`]: a moment that several steps share, and calls that the kernel may never return from.
//! - [`process`]: a process that no other can be taken for, and whether it still runs.
//! - [`command`]: a program, run to its end or to a deadline.
//! - [`errno`]: the one form of an errno in texts, and [`HasErrno`], an error that has one.
//! - [`LockFile`]: a lock between processes, with a deadline.
//! - [`json_file`]: a JSON file that is replaced as a whole.
//! - [`Sightings`], [`Told`], [`Notebook`]: what this host remembers between short-lived processes.
//!
//! This crate has no notion of storage. Every call that waits takes a deadline.
#![forbid(unsafe_code)]

pub mod command;
pub mod deadline;
pub mod errno;
pub mod files;
pub mod json_file;
mod lock_file;
mod notebook;
pub mod process;
mod sightings;
mod told;

pub use deadline::Deadline;
pub use errno::HasErrno;
pub use files::FileError;
pub use lock_file::LockFile;
pub use notebook::Notebook;
pub use process::{boot_id, Process};
pub use sightings::Sightings;
pub use told::Told;
