//! The progress of a long call.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;

/// Gets the completed and the total amount of a call, in a unit of librbd (mostly objects).
///
/// It runs about once a second, and at the end, on the thread of the caller, so that it can make calls to the
/// cluster.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The reports of a long call, which come from librbd's threads.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    count: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
}

impl Beats {
    /// Returns the number of reports.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the last report: the completed and the total amount.
    pub(crate) fn last(&self) -> (u64, u64) {
        let (done, total) = (&self.done, &self.total);
        (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed))
    }

    /// Makes the call end at its next report.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Records a report.
    pub(crate) fn report(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the data for [`trampoline`], valid as long as this.
    pub(crate) fn data(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// A `librbd_progress_fn_t`. librbd stops if the result is negative.
///
/// # Safety
/// `data` is from [`Beats::data`] of beats that still live.
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
    fn beats_count_the_reports_and_keep_the_last_one() {
        let beats = Beats::default();
        // SAFETY: the data is of beats that live.
        let result = unsafe { trampoline(3, 7, beats.data()) };
        assert_eq!((result, beats.count(), beats.last()), (0, 1, (3, 7)));
    }

    #[test]
    fn a_stopped_call_ends_at_its_next_report() {
        let beats = Beats::default();
        beats.stop();
        // SAFETY: as above.
        let result = unsafe { trampoline(1, 2, beats.data()) };
        assert_eq!(result, -(Errno::EINTR as c_int));
    }
}
