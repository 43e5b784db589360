//! Calls that their caller does not wait for, and the end of the process while one is in flight.
//!
//! librados must not run while the process is torn down: the destructors of its static objects, and of
//! the libraries below it, would pull them from under its threads. A call that its caller no longer
//! waits for holds a connection open, and librados has no way to cancel it: `rados_shutdown` under it
//! would free what it uses. So the process ends without destructors while there is such a call. The
//! kernel closes the sockets.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Once;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::deadline::{no_thread, within};
use crate::error::Result;

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

extern "C" {
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

/// A call for which no caller waits, until this is dropped.
pub(crate) struct InFlight(());

impl InFlight {
    pub(crate) fn begin() -> Self {
        static GUARDED: Once = Once::new();
        IN_FLIGHT.fetch_add(1, Ordering::SeqCst);
        GUARDED.call_once(guard_exit);
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Cluster {
    /// As [`Cluster::mgr_command`], for a caller that waits no longer than `patience`. `None`: there
    /// was no reply by then. The request goes on, and holds this connection open meanwhile.
    pub fn mgr_command_within(
        &self,
        command: &Value,
        patience: Duration,
    ) -> Result<Option<Vec<u8>>> {
        let (cluster, command) = (self.clone(), command.clone());
        let replied = within(patience, move || cluster.mgr_command_now(&command));
        replied
            .map_err(|error| no_thread("rados_mgr_command", "the manager", &error))?
            .transpose()
    }
}

/// Has the process end without destructors if a call is in flight when it exits. To be called
/// right before: a library's destructors that are registered later run earlier.
pub fn guard_exit() {
    // SAFETY: on_exit of glibc keeps the function, which lives as long as this library; nothing
    // unloads it. The argument is not used.
    let registered = unsafe { on_exit(end_without_destructors, ptr::null_mut()) };
    if registered != 0 {
        log::warn!("no memory to guard the exit of this process");
    }
}

extern "C" fn end_without_destructors(status: c_int, _: *mut c_void) {
    if IN_FLIGHT.load(Ordering::SeqCst) > 0 {
        // SAFETY: ends the process, and touches nothing of it.
        unsafe { nix::libc::_exit(status) }
    }
}
