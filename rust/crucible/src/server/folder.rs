//! The run folder of a volume: its files, written whole or not at all, for root's eyes only.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::Serialize;
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::deadline::Deadline;
use crate::Error;

const POLL: Duration = Duration::from_millis(20);

/// The run folder of that volume.
pub(crate) fn path(root: &Path, volume: &Uuid) -> PathBuf {
    root.join(volume.to_string())
}

/// Makes a folder of mode 0700, with its parents, unless it exists.
pub(crate) fn make(folder: &Path) -> Result<PathBuf, Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| Error::file("make", folder, source))?;
    Ok(folder.to_owned())
}

/// Replaces a file by the JSON of `value`; mode 0600. Whoever reads it sees the old or the new one.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |source| Error::file("write", path, source);
    let folder = path.parent().unwrap_or(path);
    let file = NamedTempFile::new_in(folder).map_err(failed)?;
    serde_json::to_writer(&file, value).map_err(|error| failed(error.into()))?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The value in a file of JSON; `None` if there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::file("read", path, source)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        // The error of serde_json may quote, and this may be a key.
        .map_err(|error| Error::Garbled {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        })
}

/// Removes a file, if it exists.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Takes an exclusive lock, which ends with the file that is returned, at the latest with this
/// process.
pub(crate) fn lock(path: &Path, deadline: Deadline) -> Result<File, Error> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::file("open", path, source))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if !deadline.passed() => deadline.sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    path: path.to_owned(),
                })
            }
            Err(TryLockError::Error(source)) => return Err(Error::file("lock", path, source)),
        }
    }
}
