//! What this host has reported in this boot, so that each event is reported once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{boot_id, files, json_file, FileError, LockFile};

#[derive(Serialize, Deserialize)]
struct Facts {
    boot_id: String,
    facts: BTreeSet<String>,
}

/// The facts that this host has reported about one subject, in one file.
#[derive(Clone, Debug)]
pub struct Told(PathBuf);

impl Told {
    /// Those about a subject, which is a UUID or another plain name.
    pub fn about(subject: &str) -> Self {
        Told(PathBuf::from("/run/smblock/told").join(subject))
    }

    /// Calls `tell` unless all of the facts were reported before in this boot. They count as reported
    /// once `tell` has succeeded. While another process reports something about the subject, this one
    /// reports nothing, and returns `false`.
    ///
    /// # Errors
    /// That of `tell`, or [`FileError`] if the file cannot be used.
    pub fn once<E: From<FileError>>(
        &self,
        facts: &[String],
        tell: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(_lock) = self.lock()? else {
            return Ok(false);
        };
        let boot_id = boot_id()?;
        let found: Option<Facts> = json_file::read_unless_damaged(&self.0)?;
        let mut told = found.filter(|found| found.boot_id == boot_id);
        let known = told.get_or_insert_with(|| Facts {
            boot_id,
            facts: BTreeSet::new(),
        });
        let before = known.facts.len();
        known.facts.extend(facts.iter().cloned());
        if known.facts.len() == before {
            return Ok(false);
        }
        tell()?;
        json_file::write(&self.0, known)?;
        Ok(true)
    }

    fn lock(&self) -> Result<Option<LockFile>, FileError> {
        let path = self.0.with_extension("lock");
        if let Some(directory) = path.parent() {
            files::create_directory(directory)?;
        }
        LockFile::try_acquire(&path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn facts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_fact_is_reported_once_and_again_if_the_report_failed() {
        let folder = tempfile::tempdir().unwrap();
        let told = Told(folder.path().join("told").join("sr"));
        let done = |names: &[&str]| {
            told.once(&facts(names), || Ok::<(), FileError>(()))
                .unwrap()
        };
        let failed = told.once(&facts(&["a"]), || {
            let failure = std::io::Error::from_raw_os_error(nix::libc::EIO);
            Err(FileError::new("tell", &told.0, failure))
        });
        failed.unwrap_err();
        assert!(done(&["a"]));
        assert!(!done(&["a"]));
        assert!(done(&["a", "b"]));
        assert!(!done(&["b"]));
        assert!(!done(&[]));
    }

    #[test]
    fn a_second_process_does_not_report_what_another_is_reporting() {
        let folder = tempfile::tempdir().unwrap();
        let told = Told(folder.path().join("sr"));
        let outer = told.once(&facts(&["a"]), || {
            assert!(!told.once(&facts(&["a"]), || Ok::<(), FileError>(()))?);
            Ok::<(), FileError>(())
        });
        assert!(outer.unwrap());
    }

    #[test]
    fn another_boot_reports_anew() {
        let folder = tempfile::tempdir().unwrap();
        let told = Told(folder.path().join("sr"));
        let other = Facts {
            boot_id: "another".to_owned(),
            facts: ["a".to_owned()].into(),
        };
        json_file::write(&told.0, &other).unwrap();
        assert!(told
            .once(&facts(&["a"]), || Ok::<(), FileError>(()))
            .unwrap());
    }
}
