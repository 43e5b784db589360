//! The server of one volume on this host, and its supervisor.
//!
//! A *supervisor* ([`serve()`]), one process per volume, starts the server, logs its output without the key,
//! and records how it ended. The files of both are in the volume's runtime directory, under a root that
//! each boot of the host empties:
//!
//! | file | written by | |
//! |---|---|---|
//! | `ports.json` | [`crate::port::Ports::reserve`] | the volume's two ports |
//! | `spec.json` | [`Server::prepare`] | what to start, with the key; only root reads it |
//! | `lock` | the supervisor | held while it runs |
//! | `state.json` | the supervisor | pids and start times of supervisor and server |
//! | `exit.json` | the supervisor | how the server ended |
//! | `supervisor.log` | [`Detached`] | output of the supervisor that could not be logged |
//!
//! **One start for each `spec.json`.** The downstairs refuse a second server with the same generation, and
//! after that refusal they have forgotten the first one. So a supervisor that finds a `state.json` starts
//! nothing.
//!
//! **A server without its supervisor.** If the supervisor is killed, the server may still run.
//! [`Server::status`] and [`Server::stop`] find it by pid and start time. If the supervisor died before it
//! recorded them, they find it by its command line: no other process listens on that address with that
//! generation.

mod fence;
mod launcher;
mod mask;
mod ready;
pub(crate) mod runtime_directory;
mod serve;
mod spec;
mod stop;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

pub use launcher::{Detached, Launcher, Systemd};
pub use serve::serve;
pub use spec::{Ended, How, Spec, State, Status};

use hostos::{command, files, json_file, process, Deadline, LockFile, Process};

use crate::Error;

const SPEC: &str = "spec.json";
const STATE: &str = "state.json";
const EXIT: &str = "exit.json";
const LOCK: &str = "lock";
/// A supervisor or a `stop` of the same volume may hold the lock for a moment.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// How long a program may take to print its help.
const HELP_DEADLINE: Duration = Duration::from_secs(10);
/// The options that a server must have. Without `--address`, it listens on the port of XCP-ng's NBD server,
/// and detects this only after it has taken the volume from the current user.
const OPTIONS: [&str; 5] = ["--address", "--control", "--gen", "--key", "--target"];

/// The server of one volume on this host. It need not run.
#[derive(Clone, Debug)]
pub struct Server {
    volume: Uuid,
    directory: PathBuf,
}

impl Server {
    /// Returns the server of that volume, whose runtime directory is under `root`.
    pub fn at(root: &Path, volume: &Uuid) -> Self {
        Server {
            volume: *volume,
            directory: runtime_directory::path(root, volume),
        }
    }

    /// Returns its runtime directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes the spec of the next start, and removes the files of the last one.
    ///
    /// # Errors
    /// [`Error::StillRunning`] if a server runs, [`Error::Locked`], [`Error::File`].
    pub fn prepare(&self, spec: &Spec) -> Result<(), Error> {
        runtime_directory::create(&self.directory)?;
        // A running supervisor holds the lock for long.
        self.refuse_if_running()?;
        let _lock = self.lock(Deadline::after(LOCK_DEADLINE))?;
        self.refuse_if_running()?;
        // In this order, a late supervisor never finds a used spec without the `state.json` that marks it.
        files::remove(&self.file(SPEC))?;
        files::remove(&self.file(EXIT))?;
        files::remove(&self.file(STATE))?;
        Ok(json_file::write(&self.file(SPEC), spec)?)
    }

    /// Starts the supervisor, which starts the server of [`Self::prepare`]. Does not wait for either: see
    /// [`Self::wait_ready`].
    ///
    /// # Errors
    /// [`Error::Launch`]; the supervisor may run in spite of the error, until [`Self::stop`] is called.
    pub fn start(&self, launcher: &dyn Launcher) -> Result<(), Error> {
        launcher.launch(&self.directory, &self.volume)
    }

    /// Returns whether it runs, or how it ended.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Garbled`]: it may run.
    pub fn status(&self) -> Result<Status, Error> {
        if let Some(ended) = json_file::read(&self.file(EXIT))? {
            return Ok(Status::Ended(ended));
        }
        let Some(mut state) = json_file::read::<State>(&self.file(STATE))? else {
            return Ok(Status::Absent);
        };
        if state.supervisor.is_alive()? {
            return Ok(Status::Running(state));
        }
        state.server = self.left_behind(&state)?.pop();
        if state.server.is_some() {
            return Ok(Status::Running(state));
        }
        // The supervisor may have written it in the meantime.
        let ended = json_file::read(&self.file(EXIT))?;
        Ok(Status::Ended(ended.unwrap_or_else(Ended::unseen)))
    }

    /// Removes the runtime directory with the reservation of the ports. Succeeds if there is none.
    ///
    /// # Errors
    /// [`Error::StillRunning`] if a server runs, [`Error::File`].
    pub fn remove(&self) -> Result<(), Error> {
        self.refuse_if_running()?;
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &self.directory, error))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a program can serve: it exists, and its help names every option that smblock uses. Starts
    /// no server: even one that fails takes the volume from its current user.
    ///
    /// # Errors
    /// [`Error::Binary`]
    pub fn check_binary(path: &Path) -> Result<(), Error> {
        let unusable = |reason: String| Error::Binary {
            path: path.to_owned(),
            reason,
        };
        let help = command::run(path, &["--help"], Vec::new(), HELP_DEADLINE).map_err(|error| {
            unusable(format!(
                "cannot run it: {}",
                hostos::errno::describe_io(&error)
            ))
        })?;
        if !help.success {
            return Err(unusable(format!("--help failed: {}", help.failure())));
        }
        let text = String::from_utf8_lossy(&help.stdout);
        let missing: Vec<&str> = OPTIONS
            .into_iter()
            .filter(|option| !mentions(&text, option))
            .collect();
        match missing.as_slice() {
            [] => Ok(()),
            ["--address"] => Err(unusable(
                "it has no --address, so it would listen on port 10809, which XCP-ng's NBD server uses: \
                 build it with that option"
                    .to_owned(),
            )),
            missing => Err(unusable(format!(
                "its --help does not name {}: it is no crucible-nbd-server that smblock supports",
                missing.join(", ")
            ))),
        }
    }

    fn refuse_if_running(&self) -> Result<(), Error> {
        match self.status()? {
            Status::Absent | Status::Ended(_) => Ok(()),
            Status::Running(state) => Err(Error::StillRunning {
                volume: self.volume,
                pid: state
                    .server
                    .map_or(state.supervisor.pid, |server| server.pid),
            }),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn lock(&self, deadline: Deadline) -> Result<LockFile, Error> {
        runtime_directory::lock(&self.file(LOCK), deadline)
    }

    /// Returns the servers that a dead supervisor left running: the one that it recorded or, if it recorded
    /// none, those that started later with the arguments of the spec.
    fn left_behind(&self, state: &State) -> Result<Vec<Process>, Error> {
        let mut found = match &state.server {
            Some(server) => Vec::from([server.clone()]),
            None => match json_file::read::<Spec>(&self.file(SPEC))? {
                Some(spec) => {
                    let arguments = spec.arguments();
                    process::find(&state.supervisor, |line| {
                        line.windows(arguments.len()).any(|part| part == arguments)
                    })?
                }
                None => Vec::new(),
            },
        };
        // A process whose state cannot be read counts as alive.
        found.retain(|process| process.is_alive().unwrap_or(true));
        Ok(found)
    }
}

/// Returns the volumes that have a runtime directory under `root`: none if `root` is missing.
///
/// # Errors
/// [`Error::File`]
pub fn all(root: &Path) -> Result<Vec<Uuid>, Error> {
    let failed = |source| Error::file("list", root, source);
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut volumes = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        volumes.extend(name.to_str().and_then(|name| Uuid::try_parse(name).ok()));
    }
    Ok(volumes)
}

/// Returns whether a help text names this option, and not only a longer one.
fn mentions(help: &str, option: &str) -> bool {
    help.match_indices(option).any(|(at, _)| {
        !help[at + option.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '-')
    })
}
