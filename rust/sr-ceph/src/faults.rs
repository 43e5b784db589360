//! What a process of this driver sees of a cluster and a host, until a chosen call goes wrong: a
//! decorator for each trait, before the gate that all of them share ([`sr::faults`]).

mod cluster;
mod host;
mod inspection;

pub use sr::faults::{Calls, Faults, Mode, Plan};

pub use self::cluster::FaultyCluster;
pub use self::host::FaultyHost;

use sr::faults::Failure;

use crate::cluster::ClusterError;

impl Failure for ClusterError {
    fn failure(call: &'static str, object: &str, errno: i32) -> Self {
        ClusterError::new(call, object, errno)
    }
}
