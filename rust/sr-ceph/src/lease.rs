//! The lease of an operation, and of a reclaim worker.

/// For how many seconds a host must have seen an entry unchanged before it may recover the operation. Usually
/// longer than the deadlines of all calls of an operation together.
pub(crate) const LEASE_SECONDS: u64 = 120;
