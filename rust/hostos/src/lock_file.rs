//! A lock between processes of this host. It ends with the process that holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::{Deadline, FileError};

const POLL: Duration = Duration::from_millis(20);

/// The exclusive lock of a file, held until this is dropped, at the latest until this process ends.
#[derive(Debug)]
pub struct LockFile(
    #[allow(
        dead_code,
        reason = "the open file holds the lock; no function reads it"
    )]
    File,
);

impl LockFile {
    /// Waits for the lock. Creates the file (mode 0600) if there is none. `None`: another process still
    /// holds it at the deadline.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be opened or locked.
    pub fn acquire(path: &Path, end: Deadline) -> Result<Option<Self>, FileError> {
        let file = open(path)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::WouldBlock) if !end.passed() => end.sleep(POLL),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => {
                    return Err(FileError::new("lock", path, source))
                }
            }
        }
    }

    /// As [`LockFile::acquire`], without waiting.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be opened or locked.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, FileError> {
        Self::acquire(path, Deadline::after(Duration::ZERO))
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| FileError::new("open", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HasErrno;

    #[test]
    fn a_waiting_process_acquires_a_lock_when_its_holder_drops_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = LockFile::try_acquire(&path).unwrap().unwrap();
        assert!(LockFile::try_acquire(&path).unwrap().is_none());
        let soon = Duration::from_millis(50);
        assert!(LockFile::acquire(&path, Deadline::after(soon))
            .unwrap()
            .is_none());
        let waiting = std::thread::spawn(move || {
            LockFile::acquire(&path, Deadline::after(Duration::from_secs(60))).unwrap()
        });
        drop(held);
        assert!(waiting.join().unwrap().is_some());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing").join("lock");
        let error = LockFile::try_acquire(&path).unwrap_err();
        assert_eq!(error.errno(), Some(nix::libc::ENOENT));
        assert!(error.to_string().contains("missing/lock"), "{error}");
    }
}
