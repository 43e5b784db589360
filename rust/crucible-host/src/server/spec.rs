//! What is written into a run folder.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{SystemTime, UNIX_EPOCH};

use hostos::Process;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The volume's UUID.
    pub volume: Uuid,
    /// The program; one that [`super::Server::check_binary`] accepts.
    pub server: PathBuf,
    /// The three downstairs.
    pub targets: [SocketAddr; 3],
    /// The generation: above every one that was ever tried for this volume.
    pub generation: u64,
    /// Where it is to offer the volume.
    pub nbd: SocketAddr,
    /// Where it is to tell about itself.
    pub control: SocketAddr,
    /// The key, of an encrypted volume.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub key: Option<SecretString>,
}

impl Spec {
    /// The server's arguments, but for the key's: no two servers ever have the same.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::from([
            "--address".to_owned(),
            self.nbd.to_string(),
            "--control".to_owned(),
            self.control.to_string(),
            "--gen".to_owned(),
            self.generation.to_string(),
        ]);
        for target in &self.targets {
            arguments.extend(["--target".to_owned(), target.to_string()]);
        }
        arguments
    }
}

/// To the file of mode 0600 in which the runner finds it, and nowhere else.
fn expose<S: Serializer>(key: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_ref()
        .map(ExposeSecret::expose_secret)
        .serialize(serializer)
}

fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The process that looks after the server. It may be gone while the server is not.
    pub runner: Process,
    /// The server; `None` for the moment in which it is being started.
    pub server: Option<Process>,
    /// The generation it was started with.
    pub generation: u64,
    /// Where it offers the volume.
    pub nbd: SocketAddr,
    /// Where its upstairs tells about itself.
    pub control: SocketAddr,
}

/// Whether a server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// None was started since the folder was made or prepared; there may be no folder at all, which
    /// [`super::all`] tells. A runner that was launched and is slow may still start one: only
    /// [`super::Server::stop`] rules that out.
    Absent,
    /// It runs, or its runner does.
    Running(State),
    /// It ran, and does not any more.
    Ended(Ended),
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What became of the process.
    pub how: How,
    /// Whether the runner was told to stop it.
    pub asked: bool,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The last lines it said, without the key.
    pub last_lines: Vec<String>,
}

/// What became of a server's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It exited with that code.
    Exited(i32),
    /// That signal killed it.
    Killed(i32),
    /// Its runner ended it: another server, with a higher generation, has the volume.
    Fenced,
    /// It could not be started, for that reason.
    NotStarted(String),
    /// Nobody saw it: its runner was killed before.
    Unseen,
}

impl Ended {
    pub(super) fn new(how: How, asked: bool, last_lines: Vec<String>) -> Self {
        Ended {
            how,
            asked,
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs()),
            last_lines,
        }
    }

    pub(super) fn unseen() -> Self {
        Self::new(How::Unseen, false, Vec::new())
    }
}

impl From<ExitStatus> for How {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Unseen,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Exited(code) => write!(f, "it exited with code {code}"),
            How::Killed(signal) => write!(f, "it was killed by signal {signal}"),
            How::Fenced => {
                f.write_str("it was fenced: another server with a higher generation has the volume")
            }
            How::NotStarted(reason) => write!(f, "it could not be started: {reason}"),
            How::Unseen => f.write_str("it is gone, and so is the process that looked after it"),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES: usize = 3;
        self.how.fmt(f)?;
        match &self.last_lines[self.last_lines.len().saturating_sub(LINES)..] {
            [] => Ok(()),
            lines => write!(f, "; it said last: {}", lines.join(" / ")),
        }
    }
}
