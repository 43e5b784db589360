//! This host's block devices.
//!
//! [`krbd`] maps RBD images with the kernel's own client, through sysfs. It needs no `rbd` command, no udev
//! and no librbd. [`nbd`] connects the kernel to NBD servers, through netlink. It needs no `nbd-client`.
//!
//! Every call that waits for the kernel takes a deadline. Sizes are bytes.
#![forbid(unsafe_code)]

mod error;
pub mod features;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod krbd;
mod module;
pub mod nbd;
mod node;
mod openers;

pub use error::Error;
pub use features::ImageFeatures;
pub use krbd::{
    kernel_watches_readers, ImageKey, KernelFacts, KernelRelease, Krbd, MapRequest, Mapping, MsMode,
};
pub use module::Module;
pub use nbd::{ConnectRequest, Nbd, NbdDevice};
pub use secrecy::SecretString;
