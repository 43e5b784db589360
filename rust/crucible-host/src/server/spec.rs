//! The files of a runtime directory.

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

/// The server to start.
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
    /// The address of the volume's NBD export.
    pub nbd: SocketAddr,
    /// The address of the upstairs' `/info`.
    pub control: SocketAddr,
    /// The key, of an encrypted volume.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub key: Option<SecretString>,
}

impl Spec {
    /// Returns the server's arguments without the key. No two servers ever have the same.
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

/// Writes the key to `spec.json`, which has mode 0600 and from which the supervisor reads it. The key is
/// written to no other file.
fn expose<S: Serializer>(key: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_ref()
        .map(ExposeSecret::expose_secret)
        .serialize(serializer)
}

fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

/// The running server and its supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The supervisor. It may be gone while the server still runs. (The file keeps its older name.)
    #[serde(rename = "runner")]
    pub supervisor: Process,
    /// The server; `None` while it starts.
    pub server: Option<Process>,
    /// The server's generation.
    pub generation: u64,
    /// The address of the volume's NBD export.
    pub nbd: SocketAddr,
    /// The address of the upstairs' `/info`.
    pub control: SocketAddr,
}

/// Whether a server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// None was started since the directory was created or prepared, or there is no directory. A slow
    /// supervisor may still start one: only [`super::Server::stop`] excludes that.
    Absent,
    /// It runs, or its supervisor does.
    Running(State),
    /// It has ended.
    Ended(Ended),
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the process ended.
    pub how: How,
    /// Whether the supervisor got a signal to stop it.
    pub asked: bool,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The last lines of its output, without the key.
    pub last_lines: Vec<String>,
}

/// How a server's process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It exited with that code.
    Exited(i32),
    /// That signal killed it.
    Killed(i32),
    /// Its supervisor ended it: another server, with a higher generation, has the volume.
    Fenced,
    /// It could not be started, for that reason.
    NotStarted(String),
    /// Unknown: its supervisor was killed before.
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
            How::Unseen => f.write_str("it has ended, and so has its supervisor"),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES: usize = 3;
        self.how.fmt(f)?;
        match &self.last_lines[self.last_lines.len().saturating_sub(LINES)..] {
            [] => Ok(()),
            lines => write!(f, "; its last output: {}", lines.join(" / ")),
        }
    }
}
