//! Judges the files of a connection before librados reads them, and finds its monitors and its key.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::cluster::{Cluster, Handle};
use crate::error::{Error, Result};
use crate::files::{self, judge_conf, judge_keyring, Dialect, Fault, Judgement, Key, Verdict};
use crate::options::{ConnectOptions, Secret};
use crate::sources::{CephFile, Sources, CONF, KEYRING};

const KEY_FILE: &str = "key file";

/// The longest file in bytes. Both librados and this crate read the whole file.
const LONGEST: u64 = 1 << 20;

/// The default paths of librados, without the variable `CEPH_CONF`.
const DEFAULT_CONFS: [&str; 3] = ["/etc/ceph/ceph.conf", "~/.ceph/ceph.conf", "ceph.conf"];

impl Cluster {
    /// Returns the key of this connection's user in base64, as the kernel needs it. librados and this
    /// function read it from the option `key`, from the file in `keyfile`, or from the first existing file in
    /// `keyring`.
    ///
    /// # Errors
    /// [`Error::NoKey`] if none of them has it; [`Error::File`] for a file that cannot be read.
    pub fn key(&self) -> Result<Secret> {
        let mut sources = Sources::default();
        sources.judge_key(self.handle())?;
        let files = sources.key_places();
        let user = self.handle().user.clone();
        sources.key.ok_or(Error::NoKey { user, files })
    }
}

impl CephFile {
    /// Returns the error if librados refuses the file.
    fn error(&self) -> Option<Error> {
        let fault = self.refusal.clone().filter(|_| self.is_certain)?;
        Some(Error::BadFile {
            role: self.role,
            path: self.path.clone(),
            fault: Box::new(fault),
        })
    }
}

impl Sources {
    /// Returns the error of the first file that librados refuses.
    pub(crate) fn error(&self) -> Option<Error> {
        let conf = self.conf.as_ref().and_then(CephFile::error);
        conf.or_else(|| self.keyring.as_ref().and_then(CephFile::error))
    }

    /// Checks the configuration file, before librados reads it.
    pub(crate) fn judge_conf(handle: &Handle, options: &ConnectOptions) -> Result<Self> {
        let mut sources = Self {
            monitors_were_given: options.mon_host.is_some(),
            ..Self::default()
        };
        if let Some(path) = conf_path(options) {
            let dialect = dialect(handle)?;
            let text = read_regular(CONF, &path)?.unwrap_or_default();
            let verdict = judge_conf(&text, &path, &handle.user, dialect);
            sources.has_other_monitors = verdict.has_other_monitors;
            sources.conf = Some(CephFile::new(CONF, path, verdict));
        }
        if let Some(named) = &options.keyring {
            // If it cannot be read, librados would use the next file of its list.
            read_regular(KEYRING, named)?;
        }
        Ok(sources)
    }

    /// Finds the key in the same way as librados. All options must be set.
    pub(crate) fn judge_key(&mut self, handle: &Handle) -> Result<()> {
        self.monitors = handle.conf_get("mon_host")?;
        self.judge_keyring(handle)?;
        if let Some(key) = handle.conf_get("key")? {
            self.take_key(handle, &key, None);
        } else if let Some(file) = handle.conf_get("keyfile")? {
            let path = PathBuf::from(file);
            let text = read_regular(KEY_FILE, &path)?.unwrap_or_default();
            self.take_key(handle, &String::from_utf8_lossy(&text), Some(path));
        }
        if let (Some(file), false) = (&mut self.keyring, uses_cephx(handle)?) {
            // Without cephx, librados reads no keyring.
            file.refusal = None;
        }
        Ok(())
    }

    fn judge_keyring(&mut self, handle: &Handle) -> Result<()> {
        let option = handle.conf_get("keyring")?.unwrap_or_default();
        for path in files::keyring_files(&option) {
            if !can_be_opened(&path) {
                self.tried.push(path);
                continue;
            }
            let text = read_regular(KEYRING, &path)?.unwrap_or_default();
            let judgement = judge_keyring(&text, &path, &handle.user, dialect(handle)?);
            let Judgement {
                verdict,
                key,
                newer,
            } = judgement;
            self.newer_key = newer;
            self.keyring = Some(CephFile::new(KEYRING, path, verdict));
            if let Some((text, key)) = key {
                self.key_type = key.type_number();
                self.key = Some(Secret::new(text));
            }
            return Ok(());
        }
        Ok(())
    }

    /// A key of the options `key` or `keyfile` overrides one of a keyring. But librados reads the keyring too,
    /// and may abort on it.
    fn take_key(&mut self, handle: &Handle, text: &str, file: Option<PathBuf>) {
        let key = Key::read(text);
        self.key_type = key.type_number();
        self.newer_key = self
            .key_type
            .filter(|&number| number > 1)
            .map(|number| (handle.user.clone(), number));
        let role = if file.is_some() { KEY_FILE } else { CONF };
        if self.keyring.as_ref().is_some_and(|file| file.aborts) {
            return;
        }
        let option = if file.is_some() { "keyfile" } else { "key" };
        let refusal = key.fault().map(|reason| Fault {
            line: None,
            reason: format!("{reason} (option {option})"),
            fix: format!(
                "on a node of the cluster: ceph auth get-key {}",
                handle.user
            ),
        });
        let verdict = Verdict {
            refusal,
            ..Verdict::default()
        };
        let place = file.or_else(|| self.conf.as_ref().map(|conf| conf.path.clone()));
        self.keyring = place.map(|path| CephFile::new(role, path, verdict));
        self.key = Some(Secret::new(text.trim()));
    }
}

/// Returns the configuration file.
pub(crate) fn conf_path(options: &ConnectOptions) -> Option<PathBuf> {
    if options.conf.is_some() || options.mon_host.is_some() {
        return options.conf.clone();
    }
    let home = std::env::var("HOME").unwrap_or_default();
    let mut paths = DEFAULT_CONFS
        .iter()
        .map(|path| PathBuf::from(path.replacen('~', &home, 1)));
    paths.find(|path| path.exists())
}

/// Both the option and the parser came with Octopus.
fn dialect(handle: &Handle) -> Result<Dialect> {
    Ok(match handle.conf_get("rbd_read_from_replica_policy")? {
        Some(_) => Dialect::Grammar,
        None => Dialect::Lines,
    })
}

/// Returns whether librados uses cephx: else it reads no key.
fn uses_cephx(handle: &Handle) -> Result<bool> {
    let methods = match handle.conf_get("auth_supported")? {
        Some(methods) => Some(methods),
        None => handle.conf_get("auth_client_required")?,
    };
    Ok(methods.is_some_and(|methods| methods.contains("cephx")))
}

/// Returns whether a file can be opened. Opens no pipe: that would wait for its other end.
fn can_be_opened(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|found| !found.is_file() || fs::File::open(path).is_ok())
}

fn read_to_limit(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = fs::File::open(path)?;
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LONGEST {
        true => Err(io::Error::from(Errno::EFBIG)),
        false => Ok(text),
    }
}

/// Returns the text of a file; `None` if it is a device, such as `/dev/null`.
fn read_regular(role: &'static str, path: &Path) -> Result<Option<Vec<u8>>> {
    let read = || {
        let metadata = path.metadata()?;
        match metadata.file_type() {
            kind if kind.is_dir() => Err(io::Error::from(Errno::EISDIR)),
            kind if kind.is_file() => read_to_limit(path).map(Some),
            kind if kind.is_char_device() => Ok(None),
            _ => Err(io::Error::other("it is not a regular file")),
        }
    };
    read().map_err(|source| Error::File {
        role,
        path: path.to_owned(),
        source,
    })
}
