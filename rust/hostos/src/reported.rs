//! The facts that this host has reported in this boot, so that it reports each fact once.

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
pub struct ReportedFacts(PathBuf);

impl ReportedFacts {
    /// Returns the facts about a subject, which is a UUID or another plain name.
    pub fn about(subject: &str) -> Self {
        ReportedFacts(PathBuf::from("/run/smblock/reported").join(subject))
    }

    /// Calls `report` if a fact is new in this boot, and returns whether it called it. The facts count as
    /// reported if `report` succeeds. Returns `false` while another process reports about the subject.
    ///
    /// # Errors
    /// The error of `report`, or [`FileError`] if the file cannot be used.
    pub fn report_new<E: From<FileError>>(
        &self,
        facts: &[String],
        report: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(_lock) = self.lock()? else {
            return Ok(false);
        };
        let boot_id = boot_id()?;
        let found: Option<Facts> = json_file::read_unless_damaged(&self.0)?;
        let this_boot = found.filter(|found| found.boot_id == boot_id);
        let mut reported = this_boot.unwrap_or_else(|| Facts {
            boot_id,
            facts: BTreeSet::new(),
        });
        let before = reported.facts.len();
        reported.facts.extend(facts.iter().cloned());
        if reported.facts.len() == before {
            return Ok(false);
        }
        report()?;
        json_file::write(&self.0, &reported)?;
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
        let directory = tempfile::tempdir().unwrap();
        let reported = ReportedFacts(directory.path().join("reported").join("sr"));
        let done = |names: &[&str]| {
            reported
                .report_new(&facts(names), || Ok::<(), FileError>(()))
                .unwrap()
        };
        let failed = reported.report_new(&facts(&["a"]), || {
            let failure = std::io::Error::from_raw_os_error(nix::libc::EIO);
            Err(FileError::new("report", &reported.0, failure))
        });
        failed.unwrap_err();
        assert!(done(&["a"]));
        assert!(!done(&["a"]));
        assert!(done(&["a", "b"]));
        assert!(!done(&["b"]));
        assert!(!done(&[]));
    }

    #[test]
    fn a_second_process_does_not_report_at_the_same_time() {
        let directory = tempfile::tempdir().unwrap();
        let reported = ReportedFacts(directory.path().join("sr"));
        let outer = reported.report_new(&facts(&["a"]), || {
            assert!(!reported.report_new(&facts(&["a"]), || Ok::<(), FileError>(()))?);
            Ok::<(), FileError>(())
        });
        assert!(outer.unwrap());
    }

    #[test]
    fn another_boot_reports_a_fact_again() {
        let directory = tempfile::tempdir().unwrap();
        let reported = ReportedFacts(directory.path().join("sr"));
        let other = Facts {
            boot_id: "another".to_owned(),
            facts: ["a".to_owned()].into(),
        };
        json_file::write(&reported.0, &other).unwrap();
        assert!(reported
            .report_new(&facts(&["a"]), || Ok::<(), FileError>(()))
            .unwrap());
    }
}
