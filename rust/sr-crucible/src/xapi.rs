//! XAPI's database, as a trait. The real one is a session with XAPI, in Python; the in-memory one is in
//! [`super::memory`].

use sr::alarm::Board;
use sr::host::{HostReply, Result};
use uuid::Uuid;

use super::claim_log::SmConfig;

/// What XAPI has about a host of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// Whether smblock's hook has noted that the host was declared dead.
    pub declared_dead: bool,
    /// The boot that the host has published last, by [`Xapi::publish_boot`].
    pub boot_id: Option<String>,
}

/// The SR's part of XAPI's database. Errors have XAPI's text. Errno `ETIMEDOUT`: the outcome is unknown.
pub trait Xapi: Board {
    /// Returns a VDI's `sm_config`, or `None` if XAPI has no such VDI.
    fn sm_config(&self, vdi: &Uuid) -> Result<Option<SmConfig>>;
    /// Adds a key to a VDI's `sm_config`. Returns `false`, and changes nothing, if the key exists.
    fn add(&self, vdi: &Uuid, key: &str, value: &str) -> Result<bool>;
    /// Removes a key from a VDI's `sm_config`, if it exists.
    fn remove(&self, vdi: &Uuid, key: &str) -> Result<()>;
    /// Returns the SR's VDIs and their `sm_config`.
    fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>>;
    /// Returns the UUID of the pool.
    fn pool(&self) -> Result<String>;
    /// Returns a host's state, or `None` if the pool does not have the host.
    fn host(&self, host: &str) -> Result<Option<HostState>>;
    /// Asks another host whether it uses a VDI. Before the host replies that it does not, it removes what a
    /// killed command left of the VDI there, and releases its claim. `None` if it cannot be asked.
    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>>;
    /// Publishes the boot of this host.
    fn publish_boot(&self, boot_id: &str) -> Result<()>;
    /// Removes the note that a host was declared dead. The host calls it when it has no server left.
    fn revive(&self, host: &str) -> Result<()>;
}
