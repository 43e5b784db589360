//! Notes of this host for its later commands, a file for each note. They survive a reboot.

use std::path::PathBuf;

use crate::{files, json_file, FileError};

/// The notes of this host.
#[derive(Clone, Debug)]
pub struct Notebook(PathBuf);

impl Default for Notebook {
    fn default() -> Self {
        Self::at("/var/lib/smblock/notes".into())
    }
}

impl Notebook {
    /// Returns the notes in `directory`.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Writes or replaces the note of that name; `None` removes it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, name: &str, text: Option<&str>) -> Result<(), FileError> {
        let path = self.path(name);
        match text {
            Some(text) => {
                files::create_directory(&self.0)?;
                json_file::write(&path, &text)
            }
            None => files::remove(&path),
        }
    }

    /// Returns the note of that name. A damaged note counts as a missing one.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self, name: &str) -> Result<Option<String>, FileError> {
        json_file::read_unless_damaged(&self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        let name: String = name
            .chars()
            .map(|c| if plain(c) { c } else { '_' })
            .collect();
        self.0.join(format!("note.{name}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notebook::at(directory.path().join("notes"));
        assert_eq!(notes.read("sr.1").unwrap(), None);
        notes.write("sr.1", None).unwrap();
        notes.write("sr.1", Some("{\"a\":1}")).unwrap();
        notes.write("sr.2", Some("two")).unwrap();
        assert_eq!(notes.read("sr.1").unwrap().unwrap(), "{\"a\":1}");
        notes.write("sr.1", None).unwrap();
        assert_eq!(notes.read("sr.1").unwrap(), None);
        assert_eq!(notes.read("sr.2").unwrap().unwrap(), "two");
    }

    #[test]
    fn a_name_cannot_leave_the_directory() {
        let path = Notebook::at("/x".into()).path("../../etc/passwd");
        assert_eq!(path, PathBuf::from("/x/note..._.._etc_passwd"));
    }
}
