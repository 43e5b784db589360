//! Writes commands to sysfs.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::client::Krbd;
use crate::Error;

impl Krbd {
    /// Returns the file for the command `add` or `remove`. If the module runs with `single_major`, a write to
    /// the plain file fails with EINVAL.
    pub(super) fn command_file(&self, command: &str) -> Result<PathBuf, Error> {
        let single_major = self.bus().join(format!("{command}_single_major"));
        match single_major.try_exists() {
            Ok(true) => Ok(single_major),
            Ok(false) => Ok(self.bus().join(command)),
            Err(error) => Err(Error::io("look for", &single_major, error)),
        }
    }
}

/// Writes one command in one write: each write is a command of its own.
pub(super) fn write_command(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let written = file.write(text.as_bytes())?;
    if written == text.len() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "the kernel accepted {written} of {} bytes",
            text.len()
        )))
    }
}
