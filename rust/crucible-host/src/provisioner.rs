//! The operator's own program that makes and removes volumes on the storage servers.
//!
//! It is run once for each command, without arguments, with one JSON object on stdin:
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
//! and answers on stdout with one JSON object, then exits with 0:
//!
//! ```json
//! {"volume": {VOLUME}}                                          create, copy
//! {}                                                            delete
//! {"volumes": [{VOLUME}, ...], "total": 1000000, "free": 5000}  list; bytes, or null
//! {"volume": {VOLUME}}                                          find; or {"volume": null}
//! ```
//!
//! `{VOLUME}` has the fields of a `[[volume]]` of [`crate::declaration`]: `uuid`, `name`, `size` and
//! `targets`; optional `description`, `generation`, `regions`, and `key_file` or `key_secret`. `config` is what
//! the SR's device-config names `provisioner_...`, without that prefix.
//!
//! `find` is what every activation asks. It needs no reply of a storage server that has no part in the
//! volume, and `null` only if the volume certainly does not exist. `list` fails if its list could be
//! short.
//!
//! A new volume has to be written with zeros by whoever makes it: of a block that never was written
//! Crucible's NBD server "reads" what its last request has left, and programs that copy to a new disk
//! leave out zeros.
//!
//! Exit with another code is a failure; stderr says why, to the administrator. What stderr says of a
//! success goes to the log. A command may come
//! again after a failure or a timeout: `create` and `copy` of a UUID that exists answer that volume,
//! `delete` of one that does not answers `{}`.

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
    /// What the operator tells it in the SR's device-config.
    pub config: BTreeMap<String, String>,
    /// How long it may take for what writes no data.
    pub deadline: Duration,
    /// How long it may take to create or copy a volume, which may write all of it.
    pub data_deadline: Duration,
}

/// What a provisioner keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The volumes of the SR.
    pub volumes: Vec<Volume>,
    /// Bytes there are for volumes, if it says.
    pub total: Option<u64>,
    /// Bytes that are free, if it says.
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
    /// The provisioner of an SR: an hour for what writes a volume, a minute for each other command.
    pub fn new(path: PathBuf, sr: Uuid, config: BTreeMap<String, String>) -> Self {
        Provisioner {
            path,
            sr,
            config,
            deadline: DEADLINE,
            data_deadline: DATA_DEADLINE,
        }
    }

    /// Makes a volume of at least `size` bytes, all zeros.
    ///
    /// # Errors
    /// [`Error::Provisioner`]; the volume may have been made all the same.
    pub fn create(&self, uuid: &Uuid, name: &str, size: u64) -> Result<Volume, Error> {
        let wanted = Wanted::New {
            uuid: *uuid,
            name: name.to_owned(),
            description: String::new(),
            size,
        };
        self.make("create", uuid, size, None, wanted, self.data_deadline)
    }

    /// Makes a full copy of a volume that nobody uses.
    ///
    /// # Errors
    /// [`Error::Provisioner`]; the copy may have been made all the same.
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

    /// Removes a volume with all its data. It is no error if there is none.
    ///
    /// # Errors
    /// [`Error::Provisioner`]; the volume may be gone all the same.
    pub fn delete(&self, volume: &Volume) -> Result<(), Error> {
        let what = format!("volume {}", volume.uuid);
        let existing = Some(Wanted::Existing(volume.into()));
        let Deleted {} = self.run("delete", &what, None, existing, self.deadline)?;
        Ok(())
    }

    /// All volumes of the SR.
    ///
    /// # Errors
    /// [`Error::Provisioner`], for one unusable volume among them too: never a shorter list.
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
            .map_err(|error| self.failed("list", what, format!("in its answer, {error}")))?;
        Ok(Listing {
            volumes,
            total: listed.total,
            free: listed.free,
        })
    }

    /// One volume of the SR; `None` if there is none of that UUID.
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
            let reason = format!("it answered with volume {}", volume.uuid);
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
                "it answered with volume {} of {} bytes, not with one of {size}",
                volume.uuid, volume.size
            );
            return Err(self.failed(command, &what, reason));
        }
        Ok(volume)
    }

    fn accept(&self, command: &'static str, what: &str, written: Written) -> Result<Volume, Error> {
        let label = written.label();
        Volume::try_from(written).map_err(|Mistake { field, text }| {
            let reason = format!("in its answer, volume {label}: {field}: {text}");
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
            return Err(self.failed(command, what, output.complaint()));
        }
        for line in output.remarks().lines() {
            log::warn!("provisioner {}: {command}: {line}", self.path.display());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let reason = format!("its answer is not what was asked for: {error}");
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
