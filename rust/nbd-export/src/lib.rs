//! An NBD server of block devices with stable names: many exports on one port.
//!
//! - [`Server`] listens. [`Settings`] are its configuration, [`Registry`] the exports, which come and go while it
//!   runs. [`Clients`] has who uses which one.
//! - [`handshake`] and [`options`] are the part of the protocol in which a client chooses an export, [`request`] and
//!   [`transmission`] the part in which it uses it.
//! - [`Device`] is the block device; [`Allocation`] is what the storage has of it.
//!
//! The protocol is that of `doc/proto.md` of github.com/NetworkBlockDevice/nbd: fixed newstyle, structured replies,
//! `base:allocation`, TLS. This crate has nothing about SRs.
#![forbid(unsafe_code)]

mod aligned;
mod allocation;
mod channel;
mod clients;
mod connections;
mod control;
mod device;
mod disk;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod handshake;
mod memory;
mod offer;
pub mod options;
mod pending;
#[allow(missing_docs, reason = "the names of proto.md")]
pub mod protocol;
mod registry;
mod reply;
pub mod request;
mod server;
mod settings;
mod tls;
pub mod transmission;

pub use aligned::Aligned;
pub use allocation::{Allocation, Part};
pub use channel::{Channel, Talk};
pub use clients::{Claim, Client, Clients, Removal};
pub use device::{Device, Progress};
pub use disk::{Disk, Zero};
pub use error::{Error, Result};
pub use memory::Memory;
pub use offer::{Description, Exports, Refused};
pub use registry::{Export, Registry};
pub use server::{Opened, Opener, Paths, Server};
pub use settings::{Settings, TlsFiles};
