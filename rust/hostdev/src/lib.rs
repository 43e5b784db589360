//! This host's block devices.
//!
//! [`krbd`] maps RBD images through the kernel's own client, by sysfs alone: no `rbd` command, no
//! udev and no librbd is needed. [`nbd`] connects the kernel to NBD servers, by netlink: no
//! `nbd-client` is needed. [`host`] says whether a process of this host still lives, which
//! is what decides if something it left behind may be taken over; [`sightings`] for how long this
//! host has seen something unchanged; [`told`] what it has reported already; [`notebook`] keeps notes
//! for later commands.
//!
//! Every call that waits for the kernel takes a deadline. Sizes are bytes.
#![forbid(unsafe_code)]

mod deadline;
mod error;
pub mod features;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod host;
pub mod krbd;
mod module;
pub mod nbd;
mod node;
pub mod notebook;
mod openers;
pub mod sightings;
mod state_file;
pub mod told;

pub use error::Error;
pub use host::{boot_id, process_alive, process_start_time};
pub use krbd::{
    kernel_watches_readers, ImageKey, KernelFacts, KernelRelease, Krbd, MapRequest, Mapping, MsMode,
};
pub use module::Module;
pub use nbd::{ConnectRequest, Nbd, NbdDevice};
pub use notebook::Notebook;
pub use secrecy::SecretString;
pub use sightings::Sightings;
pub use told::Told;
