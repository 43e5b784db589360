//! The operations of an SR.

pub(crate) mod adopt;
pub mod create;
pub mod delete;
pub mod place;
pub mod plug;
pub mod probe;
pub mod reclaim;
pub mod scan;
pub mod update;
pub mod utilisation;
