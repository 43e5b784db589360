//! For how long this host has read the same value.
//!
//! The clocks of hosts differ, and administrators set them. So the time in another host's record does not
//! show the age of the record. But a host can measure for how long it has read the same value. It uses a
//! clock that counts from the boot and cannot be set, and keeps the result for its later processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::time::{clock_gettime, ClockId};
use serde::{Deserialize, Serialize};

use crate::{boot_id, files, json_file, FileError};

/// The value of a file that was not written for so long is gone.
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Serialize, Deserialize)]
struct Sighting {
    value: String,
    boot_id: String,
    /// Seconds of `CLOCK_BOOTTIME`.
    since: u64,
}

/// The values that this host has read, a file for each key.
#[derive(Clone, Debug)]
pub struct Sightings(PathBuf);

impl Default for Sightings {
    fn default() -> Self {
        Self::at("/run/smblock/seen".into())
    }
}

impl Sightings {
    /// Returns those in `directory`.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the seconds since this host first read `value` for `key` in this boot, without another
    /// value in between. 0 if it is the first time.
    ///
    /// # Errors
    /// [`FileError`] if the clock or the directory cannot be used.
    pub fn seen_for(&self, key: &str, value: &str) -> Result<u64, FileError> {
        let path = self.0.join(file_name(key));
        let (now, boot_id) = (boot_seconds()?, boot_id()?);
        let found: Option<Sighting> = json_file::read_unless_damaged(&path)?;
        let same = found.filter(|s| s.value == value && s.boot_id == boot_id && s.since <= now);
        if let Some(sighting) = same {
            return Ok(now - sighting.since);
        }
        let sighting = Sighting {
            value: value.to_owned(),
            boot_id,
            since: now,
        };
        files::create_directory(&self.0)?;
        json_file::write(&path, &sighting)?;
        self.forget_old();
        Ok(0)
    }

    /// Removes old files. A failure does no harm.
    fn forget_old(&self) {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return;
        };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|file| file.modified());
            let age = modified.map(|time| SystemTime::now().duration_since(time));
            if matches!(age, Ok(Ok(age)) if age > FORGET) {
                if let Err(e) = files::remove(&entry.path()) {
                    log::debug!("{e}");
                }
            }
        }
    }
}

/// Returns the seconds since this host booted, including the time that it was suspended.
fn boot_seconds() -> Result<u64, FileError> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_err(|errno| FileError::new("read", Path::new("CLOCK_BOOTTIME"), errno.into()))?;
    Ok(u64::try_from(time.tv_sec()).unwrap_or_default())
}

fn file_name(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = key
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("seen.{name}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_value_restarts_the_count() {
        let directory = tempfile::tempdir().unwrap();
        let sightings = Sightings::at(directory.path().join("seen"));
        assert_eq!(sightings.seen_for("op.1", "a").unwrap(), 0);
        let path = directory.path().join("seen").join(file_name("op.1"));
        let age = |since: u64| {
            let boot_id = boot_id().unwrap();
            let value = "a".to_owned();
            json_file::write(
                &path,
                &Sighting {
                    value,
                    boot_id,
                    since,
                },
            )
            .unwrap();
        };
        let now = boot_seconds().unwrap();
        age(now.saturating_sub(5));
        assert!(sightings.seen_for("op.1", "a").unwrap() >= 5.min(now));
        assert_eq!(sightings.seen_for("op.2", "a").unwrap(), 0);
        assert_eq!(sightings.seen_for("op.1", "b").unwrap(), 0);
        assert!(sightings.seen_for("op.1", "b").unwrap() < 2);
    }

    #[test]
    fn a_damaged_file_or_another_boot_counts_as_the_first_time() {
        let directory = tempfile::tempdir().unwrap();
        let sightings = Sightings::at(directory.path().to_owned());
        let path = directory.path().join(file_name("k"));
        fs::write(&path, "{").unwrap();
        assert_eq!(sightings.seen_for("k", "v").unwrap(), 0);
        let other = Sighting {
            value: "v".to_owned(),
            boot_id: "another".to_owned(),
            since: 0,
        };
        json_file::write(&path, &other).unwrap();
        assert_eq!(sightings.seen_for("k", "v").unwrap(), 0);
    }

    #[test]
    fn a_key_cannot_leave_the_directory() {
        assert_eq!(file_name("../../etc/x y"), "seen..._.._etc_x_y");
    }
}
