//! A connection to a cluster.

use std::ffi::{c_char, CString};
use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{c_string, copy_text, text_of_unknown_length, texts_of};
use crate::deadline::{within, Patience};
use crate::error::{check, Result};
use crate::ffi::rados::rados_t;
use crate::library::Library;

/// How long closing a connection may take.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A connection to a cluster. Clones share it; the drop of the last one closes it.
#[derive(Clone)]
pub struct Cluster(Arc<Handle>);

/// The `rados_t`, closed on drop; connected or not.
pub(crate) struct Handle {
    pub(crate) library: &'static Library,
    pub(crate) raw: rados_t,
    /// The full name of the user: `client.xcp`.
    pub(crate) user: String,
    /// The deadline of its calls.
    pub(crate) patience: Patience,
}

// SAFETY: librados allows the use of a `rados_t` from any thread, and locks in it. Options are only set
// before the connection is shared.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// A `rados_t` that is closed now.
struct Last(rados_t);

// SAFETY: as for `Handle`.
unsafe impl Send for Last {}

// A method, so that a closure captures the whole struct and not its pointer.
impl Last {
    fn shut_down(self, library: &Library) {
        // SAFETY: the handle is valid, and this is its last use: pools hold the `Arc` it was in.
        unsafe { library.rados.rados_shutdown(self.0) };
    }
}

impl Drop for Handle {
    /// Implements: `void rados_shutdown(rados_t cluster)`.
    fn drop(&mut self) {
        let (library, last) = (self.library, Last(self.raw));
        let closed = within(SHUTDOWN, move || last.shut_down(library));
        if !matches!(closed, Ok(Some(()))) {
            log::warn!(
                "the connection to {} was not closed within {} s",
                self.describe(),
                SHUTDOWN.as_secs()
            );
        }
    }
}

impl Handle {
    pub(crate) fn describe(&self) -> String {
        format!("the cluster, as {}", self.user)
    }

    /// Sets an option of a handle that is not connected yet. The error does not have the value.
    pub(crate) fn conf_set(&self, option: &'static str, value: &str) -> Result<()> {
        let (name, value) = (c_string("option", option)?, c_string(option, value)?);
        // SAFETY: the handle is valid; both strings are C strings that librados copies.
        let set = unsafe {
            self.library
                .rados
                .rados_conf_set(self.raw, name.as_ptr(), value.as_ptr())
        };
        check("rados_conf_set", || option.to_owned(), set).map(|_| ())
    }

    /// Returns the value of a configuration option; `None` if it is empty, or there is no such option.
    ///
    /// Implements: `int rados_conf_get(rados_t cluster, const char *option, char *buf, size_t
    /// len)`.
    pub(crate) fn conf_get(&self, option: &str) -> Result<Option<String>> {
        let name: CString = c_string("option", option)?;
        let value = text_of_unknown_length(256, |buffer, length| {
            // SAFETY: the handle is valid; `buffer` is valid for `length` bytes.
            let got = unsafe {
                self.library
                    .rados
                    .rados_conf_get(self.raw, name.as_ptr(), buffer, length)
            };
            check("rados_conf_get", || option.to_owned(), got)
        });
        match value {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Cluster {
    pub(crate) fn from_handle(handle: Arc<Handle>) -> Self {
        Self(handle)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.0.patience
    }

    pub(crate) fn raw(&self) -> rados_t {
        self.0.raw
    }

    pub(crate) fn library(&self) -> &'static Library {
        self.0.library
    }

    /// Returns the user of this connection, without `client.`.
    pub fn user(&self) -> &str {
        self.0.user.strip_prefix("client.").unwrap_or(&self.0.user)
    }

    /// Returns the cluster's id, a UUID.
    ///
    /// Implements: `int rados_cluster_fsid(rados_t cluster, char *buf, size_t len)`.
    pub fn fsid(&self) -> Result<String> {
        text_of_unknown_length(64, |buffer, length| {
            // SAFETY: the connection is up; `buffer` is valid for `length` bytes.
            let got = unsafe {
                self.library()
                    .rados
                    .rados_cluster_fsid(self.raw(), buffer, length)
            };
            check("rados_cluster_fsid", || self.0.describe(), got)
        })
    }

    /// Returns this connection's address, in the form that [`Cluster::blocklist`] needs. librados before
    /// Nautilus 14.2.5 does not have it: [`Error::SymbolMissing`](crate::Error::SymbolMissing).
    ///
    /// Implements: `int rados_getaddrs(rados_t cluster, char** addrs)`; the text is freed with
    /// `void rados_buffer_free(char *buf)`.
    pub fn addresses(&self) -> Result<String> {
        let rados = &self.library().rados;
        let mut text: *mut c_char = ptr::null_mut();
        // SAFETY: the connection is up; `text` gets a string allocated by malloc.
        let got = unsafe { rados.rados_getaddrs(self.raw(), &mut text) }
            .ok_or_else(|| self.library().too_old_for("rados_getaddrs"))?;
        check("rados_getaddrs", || self.0.describe(), got)?;
        // SAFETY: on success `text` is a C string of ours, freed once, after it was copied.
        unsafe {
            let addresses = copy_text(text);
            rados.rados_buffer_free(text);
            Ok(addresses)
        }
    }

    /// Returns this connection's number, the one in `client.<number>`, which is unique in the cluster.
    ///
    /// Implements: `uint64_t rados_get_instance_id(rados_t cluster)`.
    pub fn instance_id(&self) -> u64 {
        // SAFETY: the connection is up.
        unsafe { self.library().rados.rados_get_instance_id(self.raw()) }
    }

    /// Returns the names of the cluster's pools.
    ///
    /// Implements: `int rados_pool_list(rados_t cluster, char *buf, size_t len)`.
    pub fn pool_names(&self) -> Result<Vec<String>> {
        let cluster = self.clone();
        self.patience()
            .read_in_time("rados_pool_list", &self.0.describe(), move || {
                cluster.pool_names_now()
            })
    }

    fn pool_names_now(&self) -> Result<Vec<String>> {
        let mut bytes = vec![0_u8; 1024];
        loop {
            // SAFETY: the connection is up; the buffer is valid for its length.
            let needed = unsafe {
                let buffer = bytes.as_mut_ptr().cast();
                self.library()
                    .rados
                    .rados_pool_list(self.raw(), buffer, bytes.len())
            };
            let needed = check("rados_pool_list", || self.0.describe(), needed)?;
            let needed = usize::try_from(needed).unwrap_or_default();
            if needed <= bytes.len() {
                return Ok(texts_of(&bytes));
            }
            bytes = vec![0; needed];
        }
    }

    /// Fences the client at `address` (of [`Cluster::addresses`], or of a [`Watcher`](crate::Watcher)) for
    /// `duration` (rounded down to seconds, at least one). When this returns, the cluster executes no further
    /// operation of that client.
    ///
    /// Implements: `int rados_blocklist_add(rados_t cluster, char *client_address, uint32_t
    /// expire_seconds)`, and before Pacific `int rados_blacklist_add(rados_t cluster,
    /// char *client_address, uint32_t expire_seconds)`.
    pub fn blocklist(&self, address: &str, duration: Duration) -> Result<()> {
        let (cluster, owned) = (self.clone(), address.to_owned());
        self.patience()
            .read_in_time("rados_blocklist_add", address, move || {
                cluster.blocklist_now(&owned, duration)
            })
    }

    fn blocklist_now(&self, address: &str, duration: Duration) -> Result<()> {
        let text = c_string("client address", address)?;
        let seconds = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
        let rados = &self.library().rados;
        // The prototypes lack a `const`; the string is only read.
        let address_pointer = text.as_ptr().cast_mut();
        // SAFETY: the connection is up; the address is a C string.
        let newer = unsafe { rados.rados_blocklist_add(self.raw(), address_pointer, seconds) };
        if let Some(added) = newer {
            return check("rados_blocklist_add", || address.to_owned(), added).map(|_| ());
        }
        // SAFETY: as above.
        let older = unsafe { rados.rados_blacklist_add(self.raw(), address_pointer, seconds) };
        let added = older.ok_or_else(|| self.library().too_old_for("rados_blacklist_add"))?;
        check("rados_blacklist_add", || address.to_owned(), added).map(|_| ())
    }

    /// Returns the value of a configuration option; `None` if it is empty, or there is no such option.
    pub fn conf_get(&self, option: &str) -> Result<Option<String>> {
        self.0.conf_get(option)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("user", &self.0.user)
            .finish_non_exhaustive()
    }
}
