//! Fault injection: a decorator for each trait through which a process sees a cluster and a host. All of them
//! pass the fault-injection point of [`sr::faults`].

mod comparison;
mod deletion;
mod host;
mod inspection;
mod listing;
mod pool;
mod takeover;
mod templates;

pub use sr::faults::{at_each_call, Calls, Faults, Mode, Plan};

pub use self::host::FaultyHost;
pub use self::pool::FaultyPool;

use sr::faults::Failure;

use crate::pool::PoolError;

impl Failure for PoolError {
    fn failure(call: &'static str, object: &str, errno: i32) -> Self {
        PoolError::new(call, object, errno)
    }
}
