//! Starts a supervisor that outlives the calling process.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hostos::command;
use uuid::Uuid;

use crate::Error;

/// The file of the runtime directory for output that a detached supervisor could not log.
pub(super) const LOG: &str = "supervisor.log";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// How long systemd may take to fork.
const DEADLINE: Duration = Duration::from_secs(20);

/// Starts supervisors. The calling process may end long before its supervisor does.
///
/// [`super::Server::stop`] ends a supervisor.
pub trait Launcher {
    /// Starts a process that calls [`super::serve()`] with that directory.
    ///
    /// # Errors
    /// [`Error::Launch`]; the supervisor may run in spite of the error.
    fn launch(&self, directory: &Path, volume: &Uuid) -> Result<(), Error>;
}

/// Returns the name of the unit of that volume's supervisor.
pub(super) fn unit(volume: &Uuid) -> String {
    format!("smblock-crucible@{volume}.service")
}

/// Supervisors are instances of the systemd unit `smblock-crucible@.service`.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

impl Systemd {
    /// Returns whether systemd runs on this host.
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
    // systemd refuses a unit that was started often, but each start here is needed: `reset-failed`. It does
    // not start a unit whose supervisor still runs, which may be reporting the end of its server:
    // `restart`. That ends no server, because `prepare` has checked that none runs.
    for verb in ["reset-failed", "restart"] {
        let failed = |reason| Error::Launch {
            volume: *volume,
            how: format!("systemctl {verb} {unit}"),
            reason,
        };
        let output = command::run(systemctl, &[verb, &unit], Vec::new(), DEADLINE)
            .map_err(|error| failed(hostos::errno::describe_io(&error)))?;
        // `reset-failed` fails for a unit that never failed, because it is not loaded.
        if !output.success && verb == "restart" {
            return Err(failed(output.failure()));
        }
    }
    Ok(())
}

/// Supervisors are plain processes in sessions of their own. For hosts without systemd.
#[derive(Clone, Debug)]
pub struct Detached {
    /// Program and arguments of the supervisor; the runtime directory is appended.
    pub command: Vec<OsString>,
}

impl Launcher for Detached {
    fn launch(&self, directory: &Path, volume: &Uuid) -> Result<(), Error> {
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
            .open(directory.join(LOG))
            .map_err(|source| Error::file("open", &directory.join(LOG), source))?;
        let also = log
            .try_clone()
            .map_err(|source| Error::file("open", &directory.join(LOG), source))?;
        // No wait for it: this process is short-lived, and init adopts the child.
        Command::new(program)
            .args(arguments)
            .arg(directory)
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

    /// A simulator of systemctl that records its arguments; `restart` also runs the given command.
    fn systemctl(directory: &Path, restart: &str) -> PathBuf {
        let path = directory.join("systemctl");
        let text = format!(
            "#!/bin/sh\necho \"$@\" >> {}/asked\n[ $1 = restart ] || exit 1\n{restart}\n",
            directory.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn systemd_restarts_the_unit_of_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Uuid::new_v4();
        start_unit(&systemctl(directory.path(), "exit 0"), &volume).unwrap();
        let asked = fs::read_to_string(directory.path().join("asked")).unwrap();
        let unit = format!("smblock-crucible@{volume}.service");
        assert_eq!(asked, format!("reset-failed {unit}\nrestart {unit}\n"));
    }

    #[test]
    fn the_error_has_the_output_of_systemctl() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Uuid::new_v4();
        let refusing = systemctl(directory.path(), "echo 'Unit not found.' >&2; exit 5");
        let error = start_unit(&refusing, &volume).unwrap_err().to_string();
        let command = format!("systemctl restart smblock-crucible@{volume}.service");
        assert!(
            error.contains(&command) && error.contains("Unit not found."),
            "{error}"
        );
    }
}
