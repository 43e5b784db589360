//! The error of an SR type that smblock does not have.

/// smblock does not have the SR type.
///
/// Fix: Run the command for an SR of one of the types that the text names.
#[derive(Debug, thiserror::Error)]
#[error("smblock has no SRs of type {name:?}, only of type {known}")]
pub struct UnknownType {
    /// What was asked for.
    pub name: String,
    /// The types that smblock has.
    pub known: String,
}

impl UnknownType {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const ID: &'static str = "SMB-P003";
}
