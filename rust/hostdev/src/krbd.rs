//! RBD images mapped by the kernel's own client, through sysfs.
//!
//! **Identity.** A mapping always shows the *name* that the image had when it was mapped, also if the image
//! was renamed or removed. So only [`ImageKey`] identifies a mapping: cluster, pool, namespace, image id and
//! snapshot id. A name is used only to map, and the identity of the result is checked.
//!
//! **Deadlines.** A write to sysfs may block in the kernel until the cluster replies. A thread of its own
//! makes it. When the deadline passes, the caller gets [`Error::Timeout`](crate::Error::Timeout), and the
//! thread stays in the kernel. That wait is killable: it ends with the process at the latest. If the write
//! succeeds before, the next [`Krbd::find`] sees the result.
//!
//! **Secrets.** The kernel reads the cephx key from the keyring of the thread that maps. No other process
//! can see it, no file of sysfs has it, and it is gone when the thread ends. The kernel's client has a copy.
//!
//! **One client per host.** All maps with equal options share one kernel client. So the options depend on
//! user, cluster and `ms_mode` only, not on the image. If they change (another `ms_mode`, a monitor that
//! gets a v2 address), new maps get a second client with an address of its own. A mapping shows the address
//! of its client, and a claim records that address.

mod client;
mod kernel_log;
mod keyring;
mod labels;
mod map;
mod mapping;
mod mappings;
mod messenger;
mod refusal;
mod release;
mod request;
#[cfg(test)]
mod sim;
mod unmap;
mod writer;
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    pub(crate) use super::kernel_log::relevant;
    pub(crate) use super::keyring::decode;
}

pub use client::{KernelFacts, Krbd};
pub use mapping::{ImageKey, Mapping};
pub use messenger::MsMode;
pub use release::{kernel_watches_readers, KernelRelease};
pub use request::MapRequest;
