//! The operator's program that creates and removes volumes on the storage servers.
//!
//! smblock runs it once for each command, without arguments, with one JSON object on stdin:
//!
//! ```json
//! {"version": 1, "command": "create", "sr": "<uuid>", "config": {"...": "..."},
//!  "volume": {"uuid": "<uuid>", "name": "web1 root", "description": "", "size": 10737418240}}
//! {"version": 1, "command": "copy", "sr": "<uuid>", "config": {},
//!  "source": {VOLUME}, "volume": {"uuid": "<uuid of the copy>", "name": "...", "description": "...", "size": 10737418240}}
//! {"version": 1, "command": "delete", "sr": "<uuid>", "config": {}, "volume": {VOLUME}}
//! {"version": 1, "command": "list", "sr": "<uuid>", "config": {}}
//! {"version": 1, "command": "find", "sr": "<uuid>", "config": {}, "volume": {"uuid": "<uuid>"}}
//! ```
//!
//! It writes one JSON object to stdout, then exits with 0:
//!
//! ```json
//! {"volume": {VOLUME}}                                          create, copy
//! {}                                                            delete
//! {"volumes": [{VOLUME}, ...], "total": 1000000, "free": 5000}  list; bytes, or null
//! {"volume": {VOLUME}}                                          find; or {"volume": null}
//! ```
//!
//! `{VOLUME}` has the fields of a `[[volume]]` of [`crate::declaration`]: `uuid`, `name`, `size` and
//! `targets`; optional `description`, `generation`, `regions`, and `key_file` or `key_secret`. `config`
//! has the keys `provisioner_NAME` of the SR's device-config, each as `NAME`.
//!
//! Every activation runs `find`. It must not depend on storage servers that have no part of the volume. It
//! replies `null` only if the volume does not exist, and fails if it cannot find out. `list` fails if its
//! list could be incomplete.
//!
//! The provisioner writes zeros to the whole of a new volume. Crucible's NBD server returns data of an
//! earlier request for a block that was never written, and programs that copy to a new disk skip zeros.
//!
//! Any other exit code is a failure, and stderr has the reason for the administrator. The stderr of a
//! successful command goes to the log. smblock may repeat a command after a failure or a timeout: `create`
//! and `copy` of an existing UUID reply with that volume, `delete` of a missing one replies `{}`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hostos::command;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::volume::{check_distinct, Mistake, Written};
use crate::{Error, Volume};

/// The protocol above.
const VERSION: u32 = 1;
const DEADLINE: Duration = Duration::from_secs(60);
const DATA_DEADLINE: Duration = Duration::from_secs(3600);

/// A provisioner, for one SR.
#[derive(Clone, Debug)]
pub struct Provisioner {
    /// The program.
    pub path: PathBuf,
    /// The SR's UUID.
    pub sr: Uuid,
    /// The keys `provisioner_NAME` of the SR's device-config, each as `NAME`.
    pub config: BTreeMap<String, String>,
    /// The deadline of a command that writes no data.
    pub deadline: Duration,
    /// The deadline of `create` and `copy`, which may write the whole volume.
    pub data_deadline: Duration,
}

/// The reply to `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The volumes of the SR.
    pub volumes: Vec<Volume>,
    /// Bytes for volumes in all, if the reply has them.
    pub total: Option<u64>,
    /// Bytes that are free, if the reply has them.
    pub free: Option<u64>,
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    command: &'static str,
    sr: Uuid,
    config: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<Wanted>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Wanted {
    New {
        uuid: Uuid,
        name: String,
        description: String,
        size: u64,
    },
    Existing(Written),
    Known {
        uuid: Uuid,
    },
}

#[derive(Deserialize)]
struct Made {
    volume: Written,
}

#[derive(Deserialize)]
struct Found {
    volume: Option<Written>,
}

#[derive(Deserialize)]
struct Deleted {}

#[derive(Deserialize)]
struct Listed {
    volumes: Vec<Written>,
    #[serde(default)]
    total: Option<u64>,
    #[serde(default)]
    free: Option<u64>,
}

impl Provisioner {
    /// Returns the provisioner of an SR. `create` and `copy` have an hour, each other command a minute.
    pub fn new(path: PathBuf, sr: Uuid, config: BTreeMap<String, String>) -> Self {
        Provisioner {
            path,
            sr,
            config,
            deadline: DEADLINE,
            data_deadline: DATA_DEADLINE,
        }
    }

    /// Creates a volume of at least `size` bytes, all zeros.
    ///
    /// # Errors
    /// [`Error::Provisioner`]; the volume may exist in spite of the error.
    pub fn create(&self, uuid: &Uuid, name: &str, size: u64) -> Result<Volume, Error> {
        let wanted = Wanted::New {
            uuid: *uuid,
            name: name.to_owned(),
            description: String::new(),
            size,
        };
        self.make("create", uuid, size, None, wanted, self.data_deadline)
    }

    /// Creates a full copy of a volume that no host uses.
    ///
    /// # Errors
    /// [`Error::Provisioner`]; the copy may exist in spite of the error.
    pub fn copy(&self, source: &Volume, uuid: &Uuid) -> Result<Volume, Error> {
        let wanted = Wanted::New {
            uuid: *uuid,
            name: source.name.clone(),
            description: source.description.clone(),
            size: source.size,
        };
        let from = Some(source.into());
        self.make("copy", uuid, source.size, from, wanted, self.data_deadline)
    }

    /// Removes a volume with all its data. Succeeds if there is none.
    ///
    /// # Errors
    /// [`Error::Provisioner`]; the volume may be gone in spite of the error.
    pub fn delete(&self, volume: &Volume) -> Result<(), Error> {
        let what = format!("volume {}", volume.uuid);
        let existing = Some(Wanted::Existing(volume.into()));
        let Deleted {} = self.run("delete", &what, None, existing, self.deadline)?;
        Ok(())
    }

    /// Returns all volumes of the SR.
    ///
    /// # Errors
    /// [`Error::Provisioner`], also if one volume of the reply is unusable.
    pub fn list(&self) -> Result<Listing, Error> {
        let what = format!("the volumes of SR {}", self.sr);
        let listed: Listed = self.run("list", &what, None, None, self.deadline)?;
        self.accept_list(&what, listed)
    }

    fn accept_list(&self, what: &str, listed: Listed) -> Result<Listing, Error> {
        let volumes = listed
            .volumes
            .into_iter()
            .map(|written| self.accept("list", what, written))
            .collect::<Result<Vec<_>, _>>()?;
        check_distinct(&volumes)
            .map_err(|error| self.failed("list", what, format!("in its reply, {error}")))?;
        Ok(Listing {
            volumes,
            total: listed.total,
            free: listed.free,
        })
    }

    /// Returns one volume of the SR; `None` if there is none of that UUID.
    ///
    /// # Errors
    /// [`Error::Provisioner`]; the volume may exist.
    pub fn find(&self, uuid: &Uuid) -> Result<Option<Volume>, Error> {
        let what = format!("volume {uuid}");
        let known = Some(Wanted::Known { uuid: *uuid });
        let found: Found = self.run("find", &what, None, known, self.deadline)?;
        self.accept_found(uuid, &what, found)
    }

    fn accept_found(&self, uuid: &Uuid, what: &str, found: Found) -> Result<Option<Volume>, Error> {
        let Some(written) = found.volume else {
            return Ok(None);
        };
        let volume = self.accept("find", what, written)?;
        if volume.uuid != *uuid {
            let reason = format!("it replied with volume {}", volume.uuid);
            return Err(self.failed("find", what, reason));
        }
        Ok(Some(volume))
    }

    fn make(
        &self,
        command: &'static str,
        uuid: &Uuid,
        size: u64,
        source: Option<Written>,
        wanted: Wanted,
        deadline: Duration,
    ) -> Result<Volume, Error> {
        let what = format!("volume {uuid}");
        let made: Made = self.run(command, &what, source, Some(wanted), deadline)?;
        let volume = self.accept(command, &what, made.volume)?;
        if volume.uuid != *uuid || volume.size < size {
            let reason = format!(
                "it replied with volume {} of {} bytes, not with one of {size}",
                volume.uuid, volume.size
            );
            return Err(self.failed(command, &what, reason));
        }
        Ok(volume)
    }

    fn accept(&self, command: &'static str, what: &str, written: Written) -> Result<Volume, Error> {
        let label = written.label();
        Volume::try_from(written).map_err(|Mistake { field, text }| {
            let reason = format!("in its reply, volume {label}: {field}: {text}");
            self.failed(command, what, reason)
        })
    }

    fn run<T: DeserializeOwned>(
        &self,
        command: &'static str,
        what: &str,
        source: Option<Written>,
        volume: Option<Wanted>,
        deadline: Duration,
    ) -> Result<T, Error> {
        let request = Request {
            version: VERSION,
            command,
            sr: self.sr,
            config: &self.config,
            source,
            volume,
        };
        let input = serde_json::to_vec(&request)
            .map_err(|error| self.failed(command, what, error.to_string()))?;
        let output = command::run(&self.path, &[], input, deadline)
            .map_err(|error| self.failed(command, what, hostos::errno::describe_io(&error)))?;
        if !output.success {
            return Err(self.failed(command, what, output.failure()));
        }
        for line in output.warnings().lines() {
            log::warn!("provisioner {}: {command}: {line}", self.path.display());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let reason = format!("its reply to the command has another form: {error}");
            self.failed(command, what, reason)
        })
    }

    fn failed(&self, command: &'static str, what: &str, reason: String) -> Error {
        Error::Provisioner {
            path: self.path.clone(),
            command,
            what: what.to_owned(),
            reason,
        }
    }
}

/// Reads a reply to `list`, and the same bytes as a reply to `find`.
#[cfg(fuzzing)]
pub(crate) fn read_reply(reply: &[u8]) {
    let provisioner = Provisioner::new("fuzzing".into(), Uuid::nil(), BTreeMap::new());
    if let Ok(listed) = serde_json::from_slice::<Listed>(reply) {
        if let Ok(listing) = provisioner.accept_list("fuzzing", listed) {
            assert!(check_distinct(&listing.volumes).is_ok());
        }
    }
    if let Ok(found) = serde_json::from_slice::<Found>(reply) {
        let _ = provisioner.accept_found(&Uuid::nil(), "fuzzing", found);
    }
}
