//! What a doctor looks at that is the same for SRs of every type: what XAPI and SM have about VDIs, and
//! this host's configuration.

mod facts;
pub mod host;
mod limits;
mod lvm;
mod pool;
mod registration;
mod tags;
mod xapi_conf;

pub use self::facts::{Facts, HostFacts, LinkFacts, VdiFacts};
pub use self::limits::limits;
pub use self::pool::{DriverFacts, PoolFacts, VersionFacts, VersionReply};
pub use self::tags::{tags, OfSr};
