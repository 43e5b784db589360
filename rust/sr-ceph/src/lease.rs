//! The lease of an operation, and of a worker that frees space.

/// How long a host must have seen an entry unchanged before it may take the operation over. Longer
/// than the deadlines of all its calls together in the usual case.
pub(crate) const LEASE_SECONDS: u64 = 120;
