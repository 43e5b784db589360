//! The server of one volume on this host, and the process that looks after it.
//!
//! A server runs under a *runner* ([`serve()`]), one process per volume that starts it, logs what it
//! says without the key, and notes how it ended. What both leave behind is in the volume's run
//! folder, under a root that a boot of the host empties:
//!
//! | file | written by | |
//! |---|---|---|
//! | `ports.json` | [`crate::port::Ports::reserve`] | the volume's two ports |
//! | `spec.json` | [`Server::prepare`] | what to start, with the key; only root reads it |
//! | `lock` | the runner | held while it runs |
//! | `state.json` | the runner | pids and start times of runner and server |
//! | `exit.json` | the runner | how the server ended |
//! | `runner.log` | [`Detached`] | what the runner itself could not log |
//!
//! **One start for each `spec.json`.** A server that is started again with its old generation is
//! refused by the downstairs, and that refusal itself makes them forget who holds the volume. So a
//! runner that finds a `state.json` starts nothing, whoever started it.
//!
//! **Found without its runner.** If the runner is killed, the server may live on. [`Server::status`]
//! and [`Server::stop`] know it by pid and start time, and, should the runner have died before it
//! could note them, by its command line: no other process is told to listen on that address with
//! that generation.

mod fence;
pub(crate) mod folder;
mod launcher;
mod mask;
mod ready;
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
/// A runner or a `stop` of the same volume may hold the folder for a moment.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// How long a program may take to print its help.
const HELP_DEADLINE: Duration = Duration::from_secs(10);
/// What a server must understand. Without `--address` it listens where XCP-ng's own NBD server does,
/// and notices only after it has taken the volume from its user.
const OPTIONS: [&str; 5] = ["--address", "--control", "--gen", "--key", "--target"];

/// The server of one volume on this host: running, to be started, or not there.
#[derive(Clone, Debug)]
pub struct Server {
    volume: Uuid,
    folder: PathBuf,
}

impl Server {
    /// The server of that volume, with its run folder under `run_root`.
    pub fn at(run_root: &Path, volume: &Uuid) -> Self {
        Server {
            volume: *volume,
            folder: folder::path(run_root, volume),
        }
    }

    /// Its run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes what is to be started, and forgets what ran before.
    ///
    /// # Errors
    /// [`Error::StillRunning`] if a server runs, [`Error::Locked`], [`Error::File`].
    pub fn prepare(&self, spec: &Spec) -> Result<(), Error> {
        folder::make(&self.folder)?;
        // Its runner would hold the lock for long.
        self.refuse_if_running()?;
        let _lock = self.lock(Deadline::after(LOCK_DEADLINE))?;
        self.refuse_if_running()?;
        // In this order: a runner that comes late never finds a spec without the mark of its use.
        files::remove(&self.file(SPEC))?;
        files::remove(&self.file(EXIT))?;
        files::remove(&self.file(STATE))?;
        Ok(json_file::write(&self.file(SPEC), spec)?)
    }

    /// Starts the runner, which starts what [`Self::prepare`] noted. It does not wait for either:
    /// see [`Self::wait_ready`].
    ///
    /// # Errors
    /// [`Error::Launch`]; the runner may run all the same, until [`Self::stop`] was called.
    pub fn start(&self, launcher: &dyn Launcher) -> Result<(), Error> {
        launcher.launch(&self.folder, &self.volume)
    }

    /// What is known of it.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Garbled`]: it is then not known to be gone.
    pub fn status(&self) -> Result<Status, Error> {
        if let Some(ended) = json_file::read(&self.file(EXIT))? {
            return Ok(Status::Ended(ended));
        }
        let Some(mut state) = json_file::read::<State>(&self.file(STATE))? else {
            return Ok(Status::Absent);
        };
        if state.runner.is_alive()? {
            return Ok(Status::Running(state));
        }
        state.server = self.left_behind(&state)?.pop();
        if state.server.is_some() {
            return Ok(Status::Running(state));
        }
        // The runner may have written it since.
        let ended = json_file::read(&self.file(EXIT))?;
        Ok(Status::Ended(ended.unwrap_or_else(Ended::unseen)))
    }

    /// Removes the run folder, the ports' reservation included. It is no error if there is none.
    ///
    /// # Errors
    /// [`Error::StillRunning`] if a server runs, [`Error::File`].
    pub fn remove(&self) -> Result<(), Error> {
        self.refuse_if_running()?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &self.folder, error))
            }
            _ => Ok(()),
        }
    }

    /// Whether a program can serve: it is there, and its help names every option it is given.
    /// Nothing is started: a server that fails has already taken its volume from its user.
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
            return Err(unusable(format!("--help failed: {}", help.complaint())));
        }
        let text = String::from_utf8_lossy(&help.stdout);
        let missing: Vec<&str> = OPTIONS
            .into_iter()
            .filter(|option| !mentions(&text, option))
            .collect();
        match missing.as_slice() {
            [] => Ok(()),
            ["--address"] => Err(unusable(
                "it has no --address, so it would listen on port 10809, which is XCP-ng's own: \
                 build it with that option"
                    .to_owned(),
            )),
            missing => Err(unusable(format!(
                "its --help does not name {}: it is no crucible-nbd-server that can be used here",
                missing.join(", ")
            ))),
        }
    }

    fn refuse_if_running(&self) -> Result<(), Error> {
        match self.status()? {
            Status::Absent | Status::Ended(_) => Ok(()),
            Status::Running(state) => Err(Error::StillRunning {
                volume: self.volume,
                pid: state.server.map_or(state.runner.pid, |server| server.pid),
            }),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn lock(&self, deadline: Deadline) -> Result<LockFile, Error> {
        folder::lock(&self.file(LOCK), deadline)
    }

    /// The server that a runner which is gone may have left behind: the one it noted or, if it came
    /// not that far, whatever was started since with the arguments of this folder's spec.
    fn left_behind(&self, state: &State) -> Result<Vec<Process>, Error> {
        let mut found = match &state.server {
            Some(server) => Vec::from([server.clone()]),
            None => match json_file::read::<Spec>(&self.file(SPEC))? {
                Some(spec) => {
                    let arguments = spec.arguments();
                    process::find(&state.runner, |line| {
                        line.windows(arguments.len()).any(|part| part == arguments)
                    })?
                }
                None => Vec::new(),
            },
        };
        // One that is not known to be gone counts as alive.
        found.retain(|process| process.is_alive().unwrap_or(true));
        Ok(found)
    }
}

/// The volumes that have a run folder under `run_root`: none if that is not there.
///
/// # Errors
/// [`Error::File`]
pub fn all(run_root: &Path) -> Result<Vec<Uuid>, Error> {
    let failed = |source| Error::file("list", run_root, source);
    let entries = match fs::read_dir(run_root) {
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

/// Whether a help text names an option, and not only a longer one.
fn mentions(help: &str, option: &str) -> bool {
    help.match_indices(option).any(|(at, _)| {
        !help[at + option.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '-')
    })
}
