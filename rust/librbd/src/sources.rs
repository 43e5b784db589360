//! Where a connection gets its monitors and its key from: which files are read, and what is wrong with them.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::cluster::Handle;
use crate::error::{Error, Result};
use crate::files::{self, judge_conf, judge_keyring, Dialect, Fault, Judgement, Key, Verdict};
use crate::options::{ConnectOptions, Secret};

/// The role of a configuration file.
pub const CONF: &str = "Ceph configuration";
/// The role of a keyring.
pub const KEYRING: &str = "keyring";
const KEY_FILE: &str = "key file";

/// No such file is longer, in bytes. librados reads all of it, and so does this.
const LONGEST: u64 = 1 << 20;

/// librados' own search, without the variable `CEPH_CONF`.
const DEFAULT_CONFS: [&str; 3] = ["/etc/ceph/ceph.conf", "~/.ceph/ceph.conf", "ceph.conf"];

/// One of Ceph's files on this host, judged.
#[derive(Debug, Clone)]
pub struct CephFile {
    /// The file.
    pub path: PathBuf,
    /// Why librados does not read it, or why what it holds is of no use.
    pub refusal: Option<Fault>,
    /// What librados ignores in it.
    pub warnings: Vec<Fault>,
    role: &'static str,
    is_certain: bool,
    aborts: bool,
}

/// What a connection is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file. `None`: none is read.
    pub conf: Option<CephFile>,
    /// The file that librados takes the user's key from. `None`: there is none, or the key stands in the
    /// configuration.
    pub keyring: Option<CephFile>,
    /// The keyrings that do not exist or cannot be opened, in librados' order.
    pub tried: Vec<PathBuf>,
    /// The monitors' addresses or names, as in `mon_host`.
    pub monitors: Option<String>,
    /// The monitors were named by the caller, and not by the configuration.
    pub monitors_were_given: bool,
    /// The type of the user's key: 1 is AES-128; 2 is AES-256 (`aes256k`), of Ceph 20.2.4 and later.
    pub key_type: Option<u16>,
    /// A user with a key of a type that older versions of librados do not have, and that type.
    pub newer_key: Option<(String, u16)>,
    pub(crate) key: Option<Secret>,
    pub(crate) has_other_monitors: bool,
}

impl CephFile {
    fn new(role: &'static str, path: PathBuf, verdict: Verdict) -> Self {
        Self {
            role,
            path,
            is_certain: verdict.refusal.is_some(),
            aborts: verdict.aborts,
            refusal: verdict.refusal.or(verdict.missing),
            warnings: verdict.warnings,
        }
    }

    /// The error, if librados certainly cannot use the file.
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
    /// Whether the user's key was found.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The files in which the user's key was looked for.
    pub fn key_places(&self) -> String {
        let tried = self.tried.iter();
        let read = self.keyring.as_ref().map(|file| &file.path);
        let places: Vec<_> = tried
            .chain(read)
            .map(|path| path.display().to_string())
            .collect();
        places.join(", ")
    }

    /// The error of the first file that librados certainly cannot use.
    pub(crate) fn error(&self) -> Option<Error> {
        let conf = self.conf.as_ref().and_then(CephFile::error);
        conf.or_else(|| self.keyring.as_ref().and_then(CephFile::error))
    }

    /// Judges the configuration file. Nothing of it was read by librados before.
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
            // librados goes on with the next file of its list.
            read_regular(KEYRING, named)?;
        }
        Ok(sources)
    }

    /// Finds the key as librados will, with all options set and before it connects.
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
            // librados reads none.
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

    /// A key of the options `key` or `keyfile` is stronger than one of a keyring. librados reads the keyring
    /// all the same, and may abort on it.
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

/// The files in use, for the log.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |file: &Option<CephFile>| match file {
            Some(file) => file.path.display().to_string(),
            None => "none".to_owned(),
        };
        let monitors = self.monitors.as_deref().unwrap_or("none");
        let (conf, key) = (path(&self.conf), path(&self.keyring));
        write!(f, "configuration {conf}, monitors {monitors}, key in {key}")
    }
}

/// The file that librados is given.
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

/// The option is of Octopus, and so is the parser.
fn dialect(handle: &Handle) -> Result<Dialect> {
    Ok(match handle.conf_get("rbd_read_from_replica_policy")? {
        Some(_) => Dialect::Grammar,
        None => Dialect::Lines,
    })
}

/// Whether librados reads a key at all.
fn uses_cephx(handle: &Handle) -> Result<bool> {
    let methods = match handle.conf_get("auth_supported")? {
        Some(methods) => Some(methods),
        None => handle.conf_get("auth_client_required")?,
    };
    Ok(methods.is_some_and(|methods| methods.contains("cephx")))
}

/// A pipe is not opened: that would wait for its other end.
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

/// The text of a file. `None`: it is a device, such as `/dev/null`, and holds none.
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
