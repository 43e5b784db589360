//! How a runner comes to life outside the process that wants it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hostos::command;
use uuid::Uuid;

use crate::Error;

/// Where a detached runner writes what it could not log, in its run folder.
pub(super) const LOG: &str = "runner.log";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// How long systemd may take to fork.
const DEADLINE: Duration = Duration::from_secs(20);

/// Starts runners. The one that asks for it may end long before its runner does.
///
/// Nothing here ends one: [`super::Server::stop`] ends the process, and what had started it notices.
pub trait Launcher {
    /// Starts a process that calls [`super::serve()`] with that folder.
    ///
    /// # Errors
    /// [`Error::Launch`]; the runner may run all the same.
    fn launch(&self, folder: &Path, volume: &Uuid) -> Result<(), Error>;
}

/// The unit of that volume's runner.
pub(super) fn unit(volume: &Uuid) -> String {
    format!("smblock-crucible@{volume}.service")
}

/// Runners are instances of the systemd unit `smblock-crucible@.service`.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

impl Systemd {
    /// Whether systemd runs this host.
    pub fn runs() -> bool {
        Path::new("/run/systemd/system").is_dir()
    }
}

impl Launcher for Systemd {
    fn launch(&self, _folder: &Path, volume: &Uuid) -> Result<(), Error> {
        start_unit(Path::new(SYSTEMCTL), volume)
    }
}

fn start_unit(systemctl: &Path, volume: &Uuid) -> Result<(), Error> {
    let unit = unit(volume);
    // It refuses a unit that was started often; each start here was wanted by somebody. And it does
    // nothing about one whose runner lives, though that may only be telling about its server's end:
    // `prepare` has seen that no server runs, so nothing is lost with it.
    for verb in ["reset-failed", "restart"] {
        let failed = |reason| Error::Launch {
            volume: *volume,
            how: format!("systemctl {verb} {unit}"),
            reason,
        };
        let output = command::run(systemctl, &[verb, &unit], Vec::new(), DEADLINE)
            .map_err(|error| failed(hostos::errno::describe_io(&error)))?;
        // A unit that never failed is not loaded, and cannot be reset.
        if !output.success && verb == "restart" {
            return Err(failed(output.complaint()));
        }
    }
    Ok(())
}

/// Runners are plain processes in sessions of their own, where there is no systemd.
#[derive(Clone, Debug)]
pub struct Detached {
    /// Program and arguments of the runner; the run folder is appended.
    pub command: Vec<OsString>,
}

impl Launcher for Detached {
    fn launch(&self, folder: &Path, volume: &Uuid) -> Result<(), Error> {
        let failed = |reason: String| Error::Launch {
            volume: *volume,
            how: format!("{:?}", self.command),
            reason,
        };
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(failed("there is no command".to_owned()));
        };
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(folder.join(LOG))
            .map_err(|source| Error::file("open", &folder.join(LOG), source))?;
        let also = log
            .try_clone()
            .map_err(|source| Error::file("open", &folder.join(LOG), source))?;
        // Nobody waits for it: this process is short-lived, and init takes it over.
        Command::new(program)
            .args(arguments)
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .spawn()
            .map(drop)
            .map_err(|error| failed(hostos::errno::describe_io(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// A stand-in of systemctl that notes what it is asked for; `restart` then does that.
    fn systemctl(folder: &Path, restart: &str) -> PathBuf {
        let path = folder.join("systemctl");
        let text = format!(
            "#!/bin/sh\necho \"$@\" >> {}/asked\n[ $1 = restart ] || exit 1\n{restart}\n",
            folder.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn systemd_is_asked_for_the_volumes_own_unit_however_often_that_failed_before() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Uuid::new_v4();
        start_unit(&systemctl(folder.path(), "exit 0"), &volume).unwrap();
        let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
        let unit = format!("smblock-crucible@{volume}.service");
        assert_eq!(asked, format!("reset-failed {unit}\nrestart {unit}\n"));
    }

    #[test]
    fn what_systemd_says_against_it_is_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Uuid::new_v4();
        let refusing = systemctl(folder.path(), "echo 'Unit not found.' >&2; exit 5");
        let error = start_unit(&refusing, &volume).unwrap_err().to_string();
        let command = format!("systemctl restart smblock-crucible@{volume}.service");
        assert!(
            error.contains(&command) && error.contains("Unit not found."),
            "{error}"
        );
    }
}
