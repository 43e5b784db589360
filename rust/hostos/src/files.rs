//! Files and directories that only root can read, and why one of them could not be used.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::errno::{describe_io, HasErrno};

/// A file or a directory could not be read, written, created, ...
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {}", describe_io(.source))]
pub struct FileError {
    /// `read`, `write`, ...
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl FileError {
    /// The id of this error in docs/user/errors.md, also of the variants that it becomes in other crates.
    pub const ID: &'static str = "SMB-H001";

    /// An error of that action on that file.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl HasErrno for FileError {
    fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    fn id(&self) -> Option<&'static str> {
        Some(Self::ID)
    }
}

/// Creates a directory of mode 0700, with those above it. An existing one is a success.
///
/// # Errors
/// [`FileError`].
pub fn create_directory(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FileError::new("create", path, source))
}

/// Removes a file. A missing one is a success.
///
/// # Errors
/// [`FileError`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path, source))
        }
        _ => Ok(()),
    }
}
