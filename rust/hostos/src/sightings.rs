//! Since when this host has seen something unchanged.
//!
//! Clocks of hosts differ, and are set. So how old another host's record is cannot be read from the
//! record. What a host can know is for how long it has itself found the same value. It remembers
//! that across its short-lived processes, by a clock that counts from the boot and is never set.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::time::{clock_gettime, ClockId};
use serde::{Deserialize, Serialize};

use crate::{boot_id, files, json_file, FileError};

/// A sighting that is not renewed for so long is of something that is gone.
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Serialize, Deserialize)]
struct Sighting {
    value: String,
    boot_id: String,
    /// Seconds of `CLOCK_BOOTTIME`.
    since: u64,
}

/// What this host has seen, a file for each key.
#[derive(Clone, Debug)]
pub struct Sightings(PathBuf);

impl Default for Sightings {
    fn default() -> Self {
        Self::at("/run/smblock/seen".into())
    }
}

impl Sightings {
    /// Kept in that directory.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Seconds since this host first found `value` under `key`, without another value in between, in
    /// this boot. 0 if it is the first time.
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

    /// Removes what was not written for long. That one cannot be removed does no harm.
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

/// Seconds since this host booted, with the time that it was suspended.
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
    fn another_value_starts_the_count_anew() {
        let folder = tempfile::tempdir().unwrap();
        let sightings = Sightings::at(folder.path().join("seen"));
        assert_eq!(sightings.seen_for("op.1", "a").unwrap(), 0);
        let path = folder.path().join("seen").join(file_name("op.1"));
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
        let folder = tempfile::tempdir().unwrap();
        let sightings = Sightings::at(folder.path().to_owned());
        let path = folder.path().join(file_name("k"));
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
