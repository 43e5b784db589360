//! Connects to a cluster. Reads the configuration and sets the deadlines before it sends a request.

use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::buffer::c_string;
use crate::cluster::{Cluster, Handle};
use crate::connection_failure::ConnectionFailure;
use crate::deadline::{no_thread, within, Patience};
use crate::error::{check, Error, Result};
use crate::judge::conf_path;
use crate::library::Library;
use crate::options::ConnectOptions;
use crate::sources::Sources;

/// Options of every connection, which override the configuration file: no output to stderr (only the calling
/// program writes to it), no admin socket in the file system, and no cache between `write_at` and the
/// cluster.
const FIXED: [(&str, &str); 5] = [
    ("log_to_stderr", "false"),
    ("err_to_stderr", "false"),
    ("log_to_syslog", "false"),
    ("admin_socket", ""),
    ("rbd_cache", "false"),
];

/// As [`FIXED`], for options that older versions do not have. They are plugins of librbd: with a plugin that
/// this host lacks, no image can be opened, and others keep data on this host.
const FIXED_IF_KNOWN: [(&str, &str); 3] = [
    ("rbd_plugins", ""),
    ("rbd_persistent_cache_mode", "disabled"),
    ("rbd_parent_cache_enabled", "false"),
];

/// By default, these are without limit, or minutes. librados reads them when it connects.
const DEADLINES: [&str; 3] = [
    "client_mount_timeout",
    "rados_mon_op_timeout",
    "rados_osd_op_timeout",
];

impl Cluster {
    /// Connects, within `options.timeout`.
    ///
    /// The system's resolver, which has its own deadlines, resolves the host names in `mon_host`.
    ///
    /// # Errors
    /// [`Error::File`] for a configuration or keyring that cannot be read; ETIMEDOUT if no monitor replies;
    /// EACCES, EPERM or ENOENT if the monitors refuse the user.
    ///
    /// Implements: `int rados_create2(rados_t *pcluster, const char *const clustername, const
    /// char * const name, uint64_t flags)`, `int rados_conf_read_file(rados_t cluster, const
    /// char *path)`, `int rados_conf_set(rados_t cluster, const char *option, const char *value)`,
    /// `int rados_connect(rados_t cluster)`.
    pub fn connect(options: &ConnectOptions) -> Result<Self> {
        let (handle, sources) = prepare(options)?;
        if let Some(error) = sources.error() {
            return Err(error);
        }
        // If librados ends the process, this is the last line of the log.
        log::info!("connecting as client.{}: {sources}", options.user);
        let handle = Arc::new(handle);
        connect_in_time(&handle).map_err(|call| no_connection(call, sources, options))?;
        Ok(Self::from_handle(handle))
    }
}

/// Connects by the deadline. librados of Nautilus tries ten times, for `client_mount_timeout` each.
fn connect_in_time(handle: &Arc<Handle>) -> Result<()> {
    let (shared, limit) = (handle.clone(), handle.patience.limit());
    let connected = within(limit, move || {
        // SAFETY: the handle is from rados_create2 and is not connected yet.
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

/// Checks the files that a connection would use, without a connection.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read. A file that librados cannot use is no error.
pub fn inspect(options: &ConnectOptions) -> Result<Sources> {
    prepare(options).map(|(_, sources)| sources)
}

/// Returns a handle with all its options, if librados can use the configuration file.
fn prepare(options: &ConnectOptions) -> Result<(Handle, Sources)> {
    let handle = create(Library::load()?, options)?;
    let mut sources = Sources::judge_conf(&handle, options)?;
    if sources.error().is_none() {
        configure(&handle, options)?;
        sources.judge_key(&handle)?;
    }
    Ok((handle, sources))
}

fn no_connection(call: Error, sources: Sources, options: &ConnectOptions) -> Error {
    let (errno, call) = (call.errno(), call.to_string());
    let failure = ConnectionFailure::new(errno, call, sources, options);
    Error::NoConnection(Box::new(failure))
}

fn create(library: &'static Library, options: &ConnectOptions) -> Result<Handle> {
    let user = format!("client.{}", options.user);
    let name = c_string("user", &user)?;
    let mut raw = ptr::null_mut();
    // SAFETY: `raw` gets the handle; both names are C strings that outlive the call.
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
    for (option, value) in FIXED_IF_KNOWN {
        match handle.conf_set(option, value) {
            Err(error) if error.is_not_found() => {}
            other => other?,
        }
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
    let file = conf_path(options);
    let path = match &file {
        Some(path) => Some(c_string("conf", path_text("conf", path)?)?),
        None if options.mon_host.is_some() => return Ok(()),
        None => None,
    };
    // SAFETY: the handle is valid; the path is null, which means the default files, or a C string.
    let read = unsafe {
        let path = path.as_ref().map_or(ptr::null(), |path| path.as_ptr());
        handle.library.rados.rados_conf_read_file(handle.raw, path)
    };
    let object = || match &file {
        Some(path) => path.display().to_string(),
        None => "the default Ceph configuration, /etc/ceph/ceph.conf".to_owned(),
    };
    check("rados_conf_read_file", object, read).map(|_| ())
}

fn path_text<'path>(argument: &'static str, path: &'path Path) -> Result<&'path str> {
    path.to_str().ok_or_else(|| Error::BadArgument {
        argument,
        reason: format!("{} is not UTF-8", path.display()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use nix::errno::Errno;
    use std::path::PathBuf;

    /// Returns what librados does with a configuration that was not checked before: `accepted` with its
    /// `mon_host`, or `refused`.
    pub(crate) fn read_by_librados(path: &Path, user: &str) -> String {
        let mut options = ConnectOptions::new(user);
        options.conf = Some(path.to_owned());
        let handle = create(Library::load().unwrap(), &options).unwrap();
        match read_file(&handle, &options) {
            Ok(()) => format!(
                "accepted {}",
                handle.conf_get("mon_host").unwrap().unwrap_or_default()
            ),
            Err(error) => format!("refused: {error}"),
        }
    }

    #[test]
    fn the_error_of_a_missing_configuration_names_it() {
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

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let (directory, options) = files("long", "[global]\n", KEYRING);
        let path = options.keyring.clone().unwrap();
        std::fs::File::create(&path)
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        let error = Cluster::connect(&options).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EFBIG as i32), "{error}");
        std::fs::remove_dir_all(directory).unwrap();
    }

    /// Files for a connection: a configuration with `mon_host`, and a keyring.
    fn files(name: &str, conf: &str, keyring: &str) -> (PathBuf, ConnectOptions) {
        let directory = std::env::temp_dir().join(format!("smblock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut options = ConnectOptions::new("xcp");
        options.timeout = std::time::Duration::from_secs(1);
        for (file, text, option) in [
            ("ceph.conf", conf, &mut options.conf),
            ("keyring", keyring, &mut options.keyring),
        ] {
            let path = directory.join(file);
            std::fs::write(&path, text).unwrap();
            *option = Some(path);
        }
        (directory, options)
    }

    const KEYRING: &str = "[client.xcp]\nkey = AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jTQ==\n";

    #[test]
    #[ignore = "a process of the next test's"]
    #[allow(clippy::print_stdout)]
    fn sources_are_printed() {
        let conf = "[global]\nmon_host = 192.0.2.1\n";
        let (directory, mut options) = files("environment", conf, KEYRING);
        options.keyring = None;
        println!("found: {}", inspect(&options).unwrap());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_environment_changes_no_connection() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "connect::tests::sources_are_printed",
            ])
            .env(
                "CEPH_ARGS",
                "--mon_host 192.0.2.99 --keyring /nonexistent/arguments",
            )
            .env("CEPH_CONF", "/nonexistent/ceph.conf")
            .env("CEPH_KEYRING", "/nonexistent/keyring")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(text.contains("monitors 192.0.2.1, key in"), "{text}");
        assert!(!text.contains("nonexistent"), "{text}");
    }

    #[test]
    fn the_error_of_a_file_that_aborts_librados_has_the_line() {
        let (directory, options) = files("abort", "[global]\nmon_host =\u{a0}192.0.2.1\n", KEYRING);
        let text = Cluster::connect(&options).unwrap_err().to_string();
        assert!(text.contains("ceph.conf: line 2: byte 11"), "{text}");
        assert!(text.contains("fix: LC_ALL=C sed -i"), "{text}");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_error_of_a_failed_connection_has_its_cause() {
        use crate::Cause;
        let newer =
            "[client.xcp]\nkey = AgCJZYhqAAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        for (conf, keyring, cause, text) in [
            (
                "mon_host = 127.0.0.1:1",
                KEYRING,
                Cause::Silent,
                "tried 127.0.0.1:1 (mon_host in /",
            ),
            (
                "mon-host = 127.0.0.1:1",
                KEYRING,
                Cause::NoMonitors,
                "line 2: librados has no option mon-host",
            ),
            (
                "mon_host = nosuch.invalid",
                KEYRING,
                Cause::UnknownHosts(vec!["nosuch.invalid".to_owned()]),
                "the host name nosuch.invalid does not resolve",
            ),
            (
                "mon_host = 127.0.0.1:port",
                KEYRING,
                Cause::BadMonitors(
                    "127.0.0.1:port is neither ADDRESS, ADDRESS:PORT nor \
                     [v2:ADDRESS:PORT,v1:ADDRESS:PORT]"
                        .to_owned(),
                ),
                "it is from mon_host in /",
            ),
            (
                "mon_host = 127.0.0.1:1",
                newer,
                Cause::KeyType,
                "is of type 2",
            ),
        ] {
            let (directory, options) = files("cause", &format!("[global]\n{conf}\n"), keyring);
            let error = Cluster::connect(&options).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert!(
                matches!(&error, Error::NoConnection(found) if found.cause == cause),
                "{error:?}"
            );
            std::fs::remove_dir_all(directory).unwrap();
        }
    }
}
