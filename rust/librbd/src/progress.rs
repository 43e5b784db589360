//! How far a long call is.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;

/// Hears how much of a call is done, of how much in all, in a unit of librbd's own (mostly objects).
///
/// It is called about once a second, and at the end, on the thread of the caller: it may ask the cluster
/// for something.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// What a long call has reported so far, on librbd's threads.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    count: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
}

impl Beats {
    /// How often the call has reported.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What it reported last: how much is done, of how much in all.
    pub(crate) fn last(&self) -> (u64, u64) {
        let (done, total) = (&self.done, &self.total);
        (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed))
    }

    /// Has the call end when it reports next.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Notes that a piece is done, of a call whose pieces are counted by the caller.
    pub(crate) fn report(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What [`trampoline`] takes as its data; good for as long as this is.
    pub(crate) fn data(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// A `librbd_progress_fn_t`. If the result is below zero, librbd stops.
///
/// # Safety
/// `data` is from [`Beats::data`], and what it was made from still lives.
pub(crate) unsafe extern "C" fn trampoline(done: u64, total: u64, data: *mut c_void) -> c_int {
    // SAFETY: the caller's promise; atomics may be written from any thread.
    let beats = unsafe { &*data.cast_const().cast::<Beats>() };
    beats.report(done, total);
    if beats.stopped.load(Ordering::Relaxed) {
        return -(Errno::EINTR as c_int);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librbd_reports_is_counted_and_kept() {
        let beats = Beats::default();
        // SAFETY: the data is of beats that live.
        let result = unsafe { trampoline(3, 7, beats.data()) };
        assert_eq!((result, beats.count(), beats.last()), (0, 1, (3, 7)));
    }

    #[test]
    fn a_call_that_was_given_up_ends_at_its_next_report() {
        let beats = Beats::default();
        beats.stop();
        // SAFETY: as above.
        let result = unsafe { trampoline(1, 2, beats.data()) };
        assert_eq!(result, -(Errno::EINTR as c_int));
    }
}
