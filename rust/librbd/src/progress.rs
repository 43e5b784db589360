//! How far a long call is: a Rust closure behind librbd's progress function.

use std::ffi::{c_int, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};

use nix::errno::Errno;

/// Hears how much of a call is done, of how much in all, in a unit of librbd's own (mostly objects).
///
/// It is called on librbd's threads, so it must not ask the cluster for anything, nor wait. A panic
/// in it ends the call with EINTR.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What [`trampoline`] takes as its data; good for as long as `progress` is.
pub(crate) fn progress_data(progress: &Progress<'_>) -> *mut c_void {
    std::ptr::from_ref(progress).cast_mut().cast()
}

/// A `librbd_progress_fn_t`. Where the answer is below zero, librbd stops.
///
/// # Safety
/// `data` is from [`progress_data`], and what it was made from still lives.
pub(crate) unsafe extern "C" fn trampoline(done: u64, total: u64, data: *mut c_void) -> c_int {
    // SAFETY: the caller's promise; only read, from whichever thread, which `Sync` allows.
    let progress = unsafe { &*data.cast_const().cast::<Progress<'_>>() };
    // Unwinding into C is not possible. What the closure has seen is not looked at afterwards.
    match catch_unwind(AssertUnwindSafe(|| progress(done, total))) {
        Ok(()) => 0,
        Err(_) => -(Errno::EINTR as c_int),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn the_closure_hears_what_librbd_says() {
        let heard = AtomicU64::new(0);
        let progress: Progress<'_> =
            &|done, total| heard.store(100 * done + total, Ordering::Relaxed);
        // SAFETY: the data is of a progress that lives.
        let answer = unsafe { trampoline(3, 7, progress_data(&progress)) };
        assert_eq!((answer, heard.load(Ordering::Relaxed)), (0, 307));
    }

    #[test]
    fn a_panic_does_not_cross_into_c_and_stops_the_call() {
        let progress: Progress<'_> = &|_, _| panic!("in the closure");
        // SAFETY: as above.
        let answer = unsafe { trampoline(1, 2, progress_data(&progress)) };
        assert_eq!(answer, -(Errno::EINTR as c_int));
    }
}
