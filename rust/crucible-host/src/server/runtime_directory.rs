//! The runtime directory of a volume. Only root can read it.

use std::path::{Path, PathBuf};

use hostos::{files, Deadline, LockFile};
use uuid::Uuid;

use crate::Error;

/// Returns the runtime directory of that volume.
pub(crate) fn path(root: &Path, volume: &Uuid) -> PathBuf {
    root.join(volume.to_string())
}

/// Creates a directory of mode 0700, with its parents, unless it exists.
pub(crate) fn create(directory: &Path) -> Result<PathBuf, Error> {
    files::create_directory(directory)?;
    Ok(directory.to_owned())
}

/// Takes an exclusive lock. It is held until the result is dropped, at the latest until this process ends.
pub(crate) fn lock(path: &Path, deadline: Deadline) -> Result<LockFile, Error> {
    LockFile::acquire(path, deadline)?.ok_or_else(|| Error::Locked {
        path: path.to_owned(),
    })
}
