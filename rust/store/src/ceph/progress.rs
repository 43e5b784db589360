//! How far a long call of librbd is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::cluster::{Progress, Result};

/// How often a long call says how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// Makes a long call on a thread of its own, and tells `progress` meanwhile how far it is: librbd's
/// threads, which are the first to hear, must not wait for anything.
pub(super) fn with_progress(
    progress: Progress<'_>,
    call: impl FnOnce(librbd::Progress<'_>) -> librbd::Result<()> + Send,
) -> Result<()> {
    let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let (at_work, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let _until_the_end = at_work;
            call(&|so_far, all| {
                done.store(so_far, Ordering::Relaxed);
                total.store(all, Ordering::Relaxed);
            })
        });
        while ended.recv_timeout(PROGRESS) == Err(RecvTimeoutError::Timeout) {
            progress(done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
        }
        match call.join() {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
