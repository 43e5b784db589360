//! How often each C function was called: what an operation costs in calls, counted, not guessed.

use std::collections::BTreeMap;

use crate::ffi::rados::Rados;
use crate::ffi::rbd::Rbd;

/// Calls made by this process since it started, by C function name. Functions that were never
/// called are there, with 0, so that two snapshots can be subtracted key by key.
pub fn snapshot() -> BTreeMap<&'static str, u64> {
    Rados::counts().chain(Rbd::counts()).collect()
}
