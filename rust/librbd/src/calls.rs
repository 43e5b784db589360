//! Counts the calls of each C function: the cost of an operation.

use std::collections::BTreeMap;

use crate::ffi::rados::Rados;
use crate::ffi::rbd::Rbd;

/// Returns the number of calls of this process since its start, for each C function. It is 0 for a function
/// that was never called, so that a test can subtract two snapshots key by key.
pub fn snapshot() -> BTreeMap<&'static str, u64> {
    Rados::counts().chain(Rbd::counts()).collect()
}
