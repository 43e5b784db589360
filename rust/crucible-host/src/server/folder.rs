//! The run folder of a volume, for root's eyes only.

use std::path::{Path, PathBuf};

use hostos::{files, Deadline, LockFile};
use uuid::Uuid;

use crate::Error;

/// The run folder of that volume.
pub(crate) fn path(root: &Path, volume: &Uuid) -> PathBuf {
    root.join(volume.to_string())
}

/// Makes a folder of mode 0700, with its parents, unless it exists.
pub(crate) fn make(folder: &Path) -> Result<PathBuf, Error> {
    files::create_directory(folder)?;
    Ok(folder.to_owned())
}

/// Takes an exclusive lock, which ends with what is returned, at the latest with this process.
pub(crate) fn lock(path: &Path, deadline: Deadline) -> Result<LockFile, Error> {
    LockFile::acquire(path, deadline)?.ok_or_else(|| Error::Locked {
        path: path.to_owned(),
    })
}
