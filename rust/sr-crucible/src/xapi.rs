//! What XAPI keeps and knows for an SR of type crucible, as a trait. The real one is a session with
//! XAPI, behind Python; the in-memory one is in [`super::memory`].

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

/// The SR's part of XAPI's database. Errors carry XAPI's text; one that leaves open whether a change
/// was made has errno `ETIMEDOUT`.
pub trait Xapi {
    /// A VDI's `sm_config`; `None` where XAPI has no such VDI.
    fn sm_config(&self, vdi: &Uuid) -> Result<Option<SmConfig>>;
    /// Adds a key to a VDI's `sm_config`; `false`: it exists, and was left as it is.
    fn add(&self, vdi: &Uuid, key: &str, value: &str) -> Result<bool>;
    /// Removes a key from a VDI's `sm_config`, if it is there.
    fn remove(&self, vdi: &Uuid, key: &str) -> Result<()>;
    /// The SR's VDIs and their `sm_config`.
    fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>>;
    /// UUID of the pool.
    fn pool(&self) -> Result<String>;
    /// A host of the pool; `None` if XAPI has no such host (any more).
    fn host(&self, host: &str) -> Result<Option<HostState>>;
    /// Asks another host whether it uses a VDI. It removes what a killed command left of the VDI there, and
    /// releases its claim, before it replies that it does not. `None`: it cannot be asked.
    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>>;
    /// Lets all hosts see in which boot this host is.
    fn publish_boot(&self, boot_id: &str) -> Result<()>;
    /// Removes the note that a host was declared dead: the host itself does, when it has nothing left.
    fn revive(&self, host: &str) -> Result<()>;
    /// Tells the administrator about a VDI, as a message of XAPI.
    fn tell(&self, vdi: &Uuid, title: &str, text: &str) -> Result<()>;
}
