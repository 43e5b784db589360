//! A rollback that did not finish.

use uuid::Uuid;

use super::{Error, Result};

impl Error {
    /// This error after its rollback ended. A rollback that failed, or that was not tried (`None`), is
    /// added to it: until another command finishes it, the VDI cannot be used.
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

    /// The failure that came first, without what happened to its rollback.
    pub fn cause(&self) -> &Self {
        match self {
            Error::NotUndone { first, .. } => first.cause(),
            _ => self,
        }
    }
}
