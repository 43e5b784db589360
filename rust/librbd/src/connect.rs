//! Making a connection: configuration first, deadlines before anything is sent.

use std::fs::File;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::buffer::c_string;
use crate::cluster::{Cluster, Handle};
use crate::deadline::{no_thread, within, Patience};
use crate::error::{check, Error, Result};
use crate::library::Library;
use crate::options::ConnectOptions;

/// What this crate needs of any connection, whatever the configuration file says: nothing on
/// stderr (it is the calling program's), no admin socket left in the file system, and no cache
/// between `write_at` and the cluster.
const FIXED: [(&str, &str); 5] = [
    ("log_to_stderr", "false"),
    ("err_to_stderr", "false"),
    ("log_to_syslog", "false"),
    ("admin_socket", ""),
    ("rbd_cache", "false"),
];

/// Each of these is "wait for ever" by default, or minutes. Set before connecting, as librados
/// reads them then.
const DEADLINES: [&str; 3] = [
    "client_mount_timeout",
    "rados_mon_op_timeout",
    "rados_osd_op_timeout",
];

impl Cluster {
    /// Connects, within `options.timeout`.
    ///
    /// Host names in `mon_host` are looked up by the system's resolver, which has deadlines of its
    /// own; addresses are not.
    ///
    /// # Errors
    /// [`Error::File`] for a configuration or keyring that cannot be read; ETIMEDOUT where no
    /// monitor answers; EACCES, EPERM or ENOENT where the monitors refuse the user.
    ///
    /// Implements: `int rados_create2(rados_t *pcluster, const char *const clustername, const
    /// char * const name, uint64_t flags)`, `int rados_conf_read_file(rados_t cluster, const
    /// char *path)`, `int rados_conf_set(rados_t cluster, const char *option, const char *value)`,
    /// `int rados_connect(rados_t cluster)`.
    pub fn connect(options: &ConnectOptions) -> Result<Self> {
        for (role, path) in [
            ("Ceph configuration", &options.conf),
            ("keyring", &options.keyring),
        ] {
            if let Some(path) = path {
                check_readable(role, path)?;
            }
        }
        let handle = create(Library::load()?, options)?;
        configure(&handle, options)?;
        let handle = Arc::new(handle);
        connect_in_time(&handle).map_err(|error| explain(error, options))?;
        Ok(Self::from_handle(handle))
    }
}

/// Connects by the deadline. Nautilus' librados tries ten times, for `client_mount_timeout` each.
fn connect_in_time(handle: &Arc<Handle>) -> Result<()> {
    let (shared, limit) = (handle.clone(), handle.patience.limit());
    let connected = within(limit, move || {
        // SAFETY: the handle was made by rados_create2 and is not connected yet.
        unsafe { shared.library.rados.rados_connect(shared.raw) }
    });
    match connected {
        Ok(Some(connected)) => check("rados_connect", || handle.describe(), connected).map(|_| ()),
        Ok(None) => {
            let late = -(Errno::ETIMEDOUT as i32);
            check("rados_connect", || handle.describe(), late).map(|_| ())
        }
        Err(error) => Err(no_thread("rados_connect", &handle.describe(), &error)),
    }
}

/// librados takes an unreadable file for an absent one, or fails with a bare errno.
fn check_readable(role: &'static str, path: &Path) -> Result<()> {
    let attempt = File::open(path).and_then(|file| file.metadata());
    match attempt {
        Ok(metadata) if metadata.is_dir() => Err(std::io::Error::from(Errno::EISDIR)),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| Error::File {
        role,
        path: path.to_owned(),
        source,
    })
}

fn create(library: &'static Library, options: &ConnectOptions) -> Result<Handle> {
    let user = format!("client.{}", options.user);
    let name = c_string("user", &user)?;
    let mut raw = ptr::null_mut();
    // SAFETY: `raw` is where the handle goes; both names are C strings that outlive the call.
    let created = unsafe {
        library
            .rados
            .rados_create2(&mut raw, c"ceph".as_ptr(), name.as_ptr(), 0)
    };
    check("rados_create2", || user.clone(), created)?;
    Ok(Handle {
        library,
        raw,
        user,
        patience: Patience::new(Duration::from_secs(options.timeout_seconds())),
    })
}

fn configure(handle: &Handle, options: &ConnectOptions) -> Result<()> {
    read_file(handle, options)?;
    for (option, value) in FIXED {
        handle.conf_set(option, value)?;
    }
    let timeout = options.timeout_seconds().to_string();
    for option in DEADLINES {
        handle.conf_set(option, &timeout)?;
    }
    if let Some(mon_host) = &options.mon_host {
        handle.conf_set("mon_host", mon_host)?;
    }
    if let Some(keyring) = &options.keyring {
        handle.conf_set("keyring", path_text("keyring", keyring)?)?;
    }
    if let Some(key) = &options.key {
        handle.conf_set("key", key.expose())?;
    }
    Ok(())
}

fn read_file(handle: &Handle, options: &ConnectOptions) -> Result<()> {
    let path = match &options.conf {
        Some(path) => Some(c_string("conf", path_text("conf", path)?)?),
        None if options.mon_host.is_some() => return Ok(()),
        None => None,
    };
    // SAFETY: the handle is valid; the path is null, which means the default files, or a C string.
    let read = unsafe {
        let path = path.as_ref().map_or(ptr::null(), |path| path.as_ptr());
        handle.library.rados.rados_conf_read_file(handle.raw, path)
    };
    let object = || match &options.conf {
        Some(path) => path.display().to_string(),
        None => "the default Ceph configuration (CEPH_CONF, /etc/ceph/ceph.conf)".to_owned(),
    };
    check("rados_conf_read_file", object, read).map(|_| ())
}

fn path_text<'path>(argument: &'static str, path: &'path Path) -> Result<&'path str> {
    path.to_str().ok_or_else(|| Error::BadArgument {
        argument,
        reason: format!("{} is not UTF-8", path.display()),
    })
}

/// What an administrator does about a connection that failed.
fn explain(error: Error, options: &ConnectOptions) -> Error {
    let user = &options.user;
    let advice = match error.errno().map(Errno::from_raw) {
        Some(Errno::ETIMEDOUT) => Some(format!(
            "no monitor answered within {} s; check mon_host, the network and the monitors",
            options.timeout_seconds()
        )),
        // Pacific's answer: without a key it has no method left to authenticate with.
        Some(Errno::ENOENT | Errno::EOPNOTSUPP) => Some(format!(
            "no key for client.{user} was found, or mon_host is not set; check keyring and mon_host"
        )),
        Some(Errno::EACCES | Errno::EPERM | Errno::EINVAL) => Some(format!(
            "the monitors refuse client.{user}; compare its key with `ceph auth get client.{user}`"
        )),
        _ => None,
    };
    error.with_detail(|| advice)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_configuration_that_is_not_there_is_named_with_the_reason() {
        let mut options = ConnectOptions::new("xcp");
        options.conf = Some(PathBuf::from("/nonexistent/ceph.conf"));
        let error = Cluster::connect(&options).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOENT as i32));
        let text = error.to_string();
        assert!(
            text.contains("Ceph configuration /nonexistent/ceph.conf"),
            "{text}"
        );
        assert!(text.contains("ENOENT"), "{text}");
    }

    #[test]
    fn a_keyring_that_is_a_directory_is_refused() {
        let mut options = ConnectOptions::new("xcp");
        options.keyring = Some(PathBuf::from("/"));
        let error = Cluster::connect(&options).unwrap_err();
        assert!(error.to_string().contains("keyring /: EISDIR"), "{error}");
    }
}
