//! This host's operating system, for all crates above: time limits, processes, files.
//!
//! - [`deadline`]: a moment that several steps share, and kernel calls that may never return.
//! - [`process`]: a process with an unambiguous identity, and whether it still runs.
//! - [`command`]: runs a program to its end or to a deadline.
//! - [`errno`]: the form that an errno has in every text, and [`HasErrno`], an error that has an errno.
//! - [`LockFile`]: a lock between processes, with a deadline.
//! - [`json_file`]: a JSON file that is replaced as a whole.
//! - [`throttle`]: limits of a block device in a control group.
//! - [`Sightings`], [`Notebook`]: what this host keeps from one short-lived process to the next.
//!
//! This crate has nothing about SRs. Every call that waits takes a deadline.
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
pub mod throttle;

pub use deadline::Deadline;
pub use errno::HasErrno;
pub use files::FileError;
pub use lock_file::LockFile;
pub use notebook::Notebook;
pub use process::{boot_id, Process};
pub use sightings::Sightings;
