//! Errors that an errno stands behind.

/// An error of this host.
pub trait HasErrno: std::error::Error {
    /// The errno behind it, positive; `None` if there is none.
    fn errno(&self) -> Option<i32>;
}
