//! A rollback that did not finish.

use uuid::Uuid;

use super::{Error, Result};

impl Error {
    /// Adds the result of its rollback to an error. If the rollback failed, or was not tried (`None`), the
    /// VDI cannot be used until another command has finished it.
    pub(crate) fn after_rollback(self, vdi: &Uuid, rollback: Option<Result<()>>) -> Self {
        let second = match rollback {
            Some(Ok(())) => return self,
            Some(Err(second)) => Some(Box::new(second)),
            None => None,
        };
        let error = Error::NotUndone {
            vdi: *vdi,
            first: Box::new(self),
            second,
        };
        log::warn!("{error}");
        error
    }

    /// Returns the failure that came first, without that of its rollback.
    pub fn cause(&self) -> &Self {
        match self {
            Error::NotUndone { first, .. } => first.cause(),
            _ => self,
        }
    }
}
