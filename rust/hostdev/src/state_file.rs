//! Small JSON files in which this host keeps what must outlive a process, and not a boot.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::Error;

/// Reads a file. Returns `None` if there is none, or if it is damaged: what it held is then unknown.
///
/// # Errors
/// [`Error::Io`]: it exists and cannot be read.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .inspect_err(|e| log::warn!("{} is damaged and ignored: {e}", path.display()))
            .ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Replaces a file in one step, and creates its directory, which only root can read. A process that
/// is killed in between leaves the old content, and a temporary file that means nothing.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |error| Error::io("write", path, error);
    let bytes = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    create_directory(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(failed)
}

/// Creates a directory that only root can read, with those above it.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn create_directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| Error::io("create", path, error))
}

/// Removes a file; that there is none is a success.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
