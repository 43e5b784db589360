//! Adds to an error what the failing call was for.

use super::{Error, Result};
use crate::host::HostError;
use crate::pool::PoolError;

/// Adds to an error what the failing call was for.
pub(crate) trait Context<T> {
    fn doing(self, what: &str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, PoolError> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|source| Error::Ceph {
            doing: what.to_owned(),
            source,
        })
    }
}

impl<T> Context<T> for std::result::Result<T, HostError> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|source| Error::Host {
            doing: what.to_owned(),
            source,
        })
    }
}
