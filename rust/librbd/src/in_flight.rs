//! Requests that their caller does not wait for, and the end of the process while one is in flight.
//!
//! librados must not run while the process is torn down: the destructors of its static objects, and of
//! the libraries below it, would pull them from under its threads. A request that its caller no longer
//! waits for holds a connection open, and librados has no way to cancel it: `rados_shutdown` under it
//! would free what it uses, and its own deadline is up to 25 s away. So [`guard_exit`] has the process
//! end without destructors while there is such a request. The kernel closes the sockets.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::Result;

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

extern "C" {
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

impl Cluster {
    /// As [`Cluster::mgr_command`], for a caller that waits no longer than `patience`. `None`: there
    /// was no answer by then. The request goes on, and holds this connection open meanwhile.
    pub fn mgr_command_within(
        &self,
        command: &Value,
        patience: Duration,
    ) -> Result<Option<Vec<u8>>> {
        let (cluster, command) = (self.clone(), command.clone());
        let (answer, answered) = mpsc::channel();
        IN_FLIGHT.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            let result = cluster.mgr_command(&command);
            drop(cluster); // may be the last to hold the connection: closes it
            IN_FLIGHT.fetch_sub(1, Ordering::SeqCst);
            // The receiver is gone if the answer comes too late.
            let _ = answer.send(result);
        });
        answered.recv_timeout(patience).ok().transpose()
    }
}

/// Has the process end without destructors if a request is in flight when it exits. To be called
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
