//! JSON files that are replaced as a whole: a reader finds the old content or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::Serialize;
use tempfile::Builder;

use crate::{files, FileError};

/// Why a JSON file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),

    /// The file has no such value. The error does not quote the text: it may be a secret.
    #[error("{path} is damaged at line {line}, column {column}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where reading it failed, from 1.
        line: usize,
        /// Where in that line, from 1.
        column: usize,
    },
}

/// Returns the value in a file; `None` if there is no such file.
///
/// # Errors
/// [`ReadError`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReadError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FileError::new("read", path, source).into()),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| ReadError::Damaged {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        })
}

/// As [`read`], for a value that can be found again: a damaged file counts as a missing one.
///
/// # Errors
/// [`FileError`]: it exists and cannot be read.
pub fn read_unless_damaged<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    match read(path) {
        Ok(found) => Ok(found),
        Err(ReadError::File(error)) => Err(error),
        Err(damaged) => {
            log::warn!("{damaged}: smblock ignores it");
            Ok(None)
        }
    }
}

/// Replaces a file in one step; mode 0600. Its directory must exist. A process that is killed during
/// the write leaves the old content, and a temporary file that [`remove_with_leftovers`] removes.
///
/// # Errors
/// [`FileError`].
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let failed = |source| FileError::new("write", path, source);
    let bytes = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    let mut file = Builder::new()
        .prefix(&leftover_prefix(path))
        .make_in(directory_of(path), create)
        .map_err(failed)?;
    // The errors of the wrapper `tempfile::NamedTempFile` have no errno; those of the file have one.
    file.as_file_mut().write_all(&bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Removes a file, and the temporary files of its killed writers. The caller makes sure that no process
/// writes it at the same time.
///
/// # Errors
/// [`FileError`].
pub fn remove_with_leftovers(path: &Path) -> Result<(), FileError> {
    files::remove(path)?;
    let directory = directory_of(path);
    let failed = |source| FileError::new("list", directory, source);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    let prefix = leftover_prefix(path);
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn leftover_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HasErrno;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_only_root_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        assert_eq!(read::<u32>(&path).unwrap(), None);
        write(&path, &1).unwrap();
        write(&path, &2).unwrap();
        assert_eq!(read::<u32>(&path).unwrap(), Some(2));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_with_its_errno() {
        let error = write(Path::new("/nonexistent/state.json"), &1).unwrap_err();
        assert_eq!(error.errno(), Some(nix::libc::ENOENT));
        assert!(error
            .to_string()
            .contains("/nonexistent/state.json: ENOENT (2): No such"));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_does_not_quote_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        fs::write(&path, "\"secret\"").unwrap();
        let error = read::<u32>(&path).unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("line 1"));
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(read_unless_damaged::<u32>(&path).unwrap(), None);
    }

    #[test]
    fn removing_a_file_removes_only_the_leftovers_of_that_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        write(&path, &1).unwrap();
        let (ours, other) = (".state.json.a1B2c3", ".other.json.a1B2c3");
        for name in [ours, other] {
            fs::write(directory.path().join(name), "{").unwrap();
        }
        remove_with_leftovers(&path).unwrap();
        remove_with_leftovers(&path).unwrap();
        let left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [other]);
        remove_with_leftovers(Path::new("/nonexistent/state.json")).unwrap();
    }
}
