//! The end of the process while an abandoned call is in flight.
//!
//! librados must not run while a process runs its destructors: they destroy static objects of librados, and
//! of the libraries that it uses. An abandoned call keeps a connection open, and librados cannot cancel it:
//! `rados_shutdown` would free objects that the call uses. So the process ends without destructors if there
//! is such a call. The kernel closes the sockets.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Once;

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

extern "C" {
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

/// An abandoned call, until this is dropped.
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

/// Makes the process end without destructors if an abandoned call is in flight when it exits. Call this right
/// before the exit: destructors that a library registers later run earlier.
pub fn guard_exit() {
    // SAFETY: on_exit of glibc keeps the function, which lives as long as this library, which is never
    // unloaded. The argument is not used.
    let registered = unsafe { on_exit(end_without_destructors, ptr::null_mut()) };
    if registered != 0 {
        log::warn!("cannot register a function for the exit of this process: no memory");
    }
}

extern "C" fn end_without_destructors(status: c_int, _: *mut c_void) {
    if IN_FLIGHT.load(Ordering::SeqCst) > 0 {
        // SAFETY: ends the process without access to its memory.
        unsafe { nix::libc::_exit(status) }
    }
}
