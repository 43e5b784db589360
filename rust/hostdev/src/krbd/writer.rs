//! Writes to sysfs that the kernel may sit on.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use nix::sys::signal::SigSet;

use super::Krbd;
use crate::deadline::Deadline;
use crate::Error;

impl Krbd {
    /// The file that takes the command `add` or `remove`. Where the module runs with
    /// `single_major` (every kernel in use does), the plain one answers EINVAL.
    pub(super) fn command_file(&self, command: &str) -> Result<PathBuf, Error> {
        let single_major = self.bus().join(format!("{command}_single_major"));
        match single_major.try_exists() {
            Ok(true) => Ok(single_major),
            Ok(false) => Ok(self.bus().join(command)),
            Err(error) => Err(Error::io("look for", &single_major, error)),
        }
    }
}

/// Writes one command, whole: the kernel takes each write as a command of its own.
pub(super) fn write_command(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let written = file.write(text.as_bytes())?;
    if written == text.len() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "the kernel took {written} of {} bytes",
            text.len()
        )))
    }
}

/// What `work` answers, done on a thread of its own; `None` if it has not by the deadline. The
/// thread is then left behind: it ends when the kernel answers, or with the process.
///
/// # Errors
/// If there can be no such thread: nothing was done.
pub(super) fn by_deadline<T: Send + 'static>(
    end: Deadline,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("krbd".to_owned())
        .spawn(move || {
            // The kernel's wait is interruptible: a signal meant for the process must not end it.
            let outcome = SigSet::all().thread_block().map(|()| work());
            if sender.send(outcome).is_err() {
                log::warn!("the kernel answered a command on an RBD device after its deadline");
            }
        })?;
    match receiver.recv_timeout(end.left()) {
        Ok(outcome) => Ok(Some(outcome?)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the thread that writes to it died"))
        }
    }
}
