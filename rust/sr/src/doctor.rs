//! What a doctor looks at that is the same for SRs of every type: what XAPI and SM have about VDIs, and
//! this host's configuration.

mod facts;
pub mod host;
mod lvm;
mod registration;
mod tags;

pub use self::facts::{Facts, HostFacts, LinkFacts, VdiFacts};
pub use self::tags::{tags, OfSr};
