//! Calls that end by a deadline of this host's clock, even if librados and librbd hang.
//!
//! A timeout of librados limits one request. Many functions of librbd send several, wait for a lock or
//! retry, some without limit; `rados_connect` of Nautilus takes ten times its timeout. So each function that
//! may block runs on a thread of its own. If it has no result at the deadline, the caller gets ETIMEDOUT and
//! the thread continues: the call is *abandoned*.
//!
//! **An abandoned call.** The thread owns copies of the arguments and references to the handles, so that
//! they stay valid. The call may still be carried out, so [`Error::is_outcome_unknown`] is true. Until the
//! call ends, this connection refuses every other change to an image, so that a late effect cannot meet a
//! newer change of this process. The process can exit before ([`guard_exit`](crate::guard_exit)), which ends
//! the call.
//!
//! Reads and writes of omaps, and class methods, are single requests, which librados limits
//! (`rados_osd_op_timeout`). They run on the thread of the caller.

use std::any::Any;
use std::io;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::in_flight::InFlight;
use crate::progress::{Beats, Progress};

/// How often a long call reports its progress.
const REPORT: Duration = Duration::from_secs(1);

/// The size of the stack of a program's first thread.
const STACK: usize = 8 << 20;

type Outcome<T> = std::result::Result<T, Box<dyn Any + Send>>;

/// A call on a thread of its own.
pub(crate) struct Call<T>(Arc<Slot<T>>);

struct Slot<T> {
    state: Mutex<State<T>>,
    over: Condvar,
}

enum State<T> {
    UnderWay,
    Over(Outcome<T>),
    Taken,
    /// The caller does not wait. The fields are dropped when the call ends.
    Abandoned {
        _in_flight: InFlight,
        _late: Option<LateChange>,
    },
}

impl<T: Send + 'static> Call<T> {
    /// # Errors
    /// If the thread cannot be created: nothing was done.
    pub(crate) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let slot = Arc::new(Slot {
            state: Mutex::new(State::UnderWay),
            over: Condvar::new(),
        });
        let shared = slot.clone();
        let thread = thread::Builder::new().name("ceph-call".to_owned());
        thread.stack_size(STACK).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)); // drops everything that `work` owns
            let mut state = shared.lock();
            if let State::Abandoned { .. } = *state {
                let abandoned = std::mem::replace(&mut *state, State::Taken);
                drop(state);
                drop(outcome); // may close a handle
                drop(abandoned);
            } else {
                *state = State::Over(outcome);
                shared.over.notify_all();
            }
        })?;
        Ok(Self(slot))
    }

    /// Waits for the result; `None` if there is none within `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Option<T> {
        let state = self.0.lock();
        let waited = self
            .0
            .over
            .wait_timeout_while(state, limit, |state| matches!(state, State::UnderWay));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        take(&mut state)
    }

    /// Abandons the call. Returns the result if it has one now.
    pub(crate) fn abandon(self, late: Option<LateChange>) -> Option<T> {
        let mut state = self.0.lock();
        if let State::UnderWay = *state {
            *state = State::Abandoned {
                _in_flight: InFlight::begin(),
                _late: late,
            };
            return None;
        }
        take(&mut state)
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take<T>(state: &mut State<T>) -> Option<T> {
    if !matches!(state, State::Over(_)) {
        return None;
    }
    match std::mem::replace(state, State::Taken) {
        State::Over(Ok(result)) => Some(result),
        State::Over(Err(panic)) => resume_unwind(panic),
        _ => None,
    }
}

/// Runs `work`, which changes nothing, and returns its result; `None` if there is none within `limit`.
///
/// # Errors
/// If the thread cannot be created: nothing was done.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let call = Call::start(work)?;
    Ok(call.wait(limit).or_else(|| call.abandon(None)))
}

/// The deadline of the calls of a connection, and its abandoned changes.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    late: Arc<Mutex<Vec<String>>>,
}

impl Patience {
    /// `timeout` is the timeout of a single request. The deadline is a little later, so that a function with
    /// one request ends with the result of librados.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            limit: timeout + (timeout / 8).min(Duration::from_secs(2)),
            late: Arc::default(),
        }
    }

    /// Returns the deadline, which is longer than the timeout of one request.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    fn late_change(&self, name: String) -> LateChange {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.push(name.clone());
        LateChange {
            all: self.late.clone(),
            name,
        }
    }

    fn first_late(&self) -> Option<String> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.first().cloned()
    }
}

/// An abandoned change that has not ended, until this is dropped.
pub(crate) struct LateChange {
    all: Arc<Mutex<Vec<String>>>,
    name: String,
}

impl Drop for LateChange {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.iter().position(|name| *name == self.name) {
            all.swap_remove(found);
        }
        log::warn!("{} ended after its deadline", self.name);
    }
}

impl Patience {
    /// Makes a call that changes nothing.
    pub(crate) fn read_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let limit = self.limit;
        match within(limit, work) {
            Ok(Some(result)) => result,
            Ok(None) => Err(overdue(call, object, limit)),
            Err(error) => Err(no_thread(call, object, &error)),
        }
    }

    /// Makes a call that may change the cluster.
    pub(crate) fn change_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.long_change_in_time(call, object, &mut |_, _| {}, |_| work())
    }

    /// As [`Patience::change_in_time`], for a long call: the deadline restarts with each report of progress.
    pub(crate) fn long_change_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        progress: Progress<'_>,
        work: impl FnOnce(&Beats) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if let Some(late) = self.first_late() {
            let reason =
                format!("the call was not made, because an earlier one has not ended: {late}");
            return Err(timed_out(call, object, reason));
        }
        let limit = self.limit;
        let beats = Arc::new(Beats::default());
        let shared = beats.clone();
        let running =
            Call::start(move || work(&shared)).map_err(|error| no_thread(call, object, &error))?;
        let (mut seen, mut since) = (beats.count(), Instant::now());
        loop {
            let left = limit.saturating_sub(since.elapsed());
            let result = running.wait(left.min(REPORT));
            let now = beats.count();
            let progressed = now != seen;
            if progressed {
                (seen, since) = (now, Instant::now());
                let (done, total) = beats.last();
                progress(done, total);
            }
            match result {
                Some(result) => return result,
                None if !progressed && left.is_zero() => break,
                None => {}
            }
        }
        beats.stop();
        let late = self.late_change(format!("{call} on {object}"));
        let result = running.abandon(Some(late));
        result.unwrap_or_else(|| Err(overdue(call, object, limit)))
    }
}

/// Returns the error of a call without a result at the deadline.
pub(crate) fn overdue(call: &'static str, object: &str, limit: Duration) -> Error {
    let seconds = limit.as_secs_f64();
    timed_out(call, object, format!("no result within {seconds:.0} s"))
}

fn timed_out(call: &'static str, object: &str, detail: String) -> Error {
    Error::Call {
        call,
        object: object.to_owned(),
        errno: Errno::ETIMEDOUT as i32,
        detail: Some(detail),
    }
}

pub(crate) fn no_thread(call: &'static str, object: &str, error: &io::Error) -> Error {
    Error::Call {
        call,
        object: object.to_owned(),
        errno: error.raw_os_error().unwrap_or(Errno::EAGAIN as i32),
        detail: Some("cannot start a thread; see `ulimit -u` and `free -m`".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SOON: Duration = Duration::from_millis(20);
    const LATER: Duration = Duration::from_secs(20);

    /// Waits until other threads make the condition true.
    fn wait_until(condition: impl Fn() -> bool) {
        let end = Instant::now() + LATER;
        while !condition() {
            assert!(Instant::now() < end, "the condition is still false");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_result_in_time_is_returned_and_a_late_one_is_dropped() {
        assert_eq!(within(LATER, || 7).unwrap(), Some(7));
        let (go, gone) = mpsc::channel::<()>();
        let result = Arc::new(());
        let owned = result.clone();
        let late = within(SOON, move || {
            let _ended = gone.recv();
            owned
        });
        assert_eq!(late.unwrap(), None);
        assert_eq!(
            Arc::strong_count(&result),
            2,
            "the thread keeps its arguments"
        );
        go.send(()).unwrap();
        wait_until(|| Arc::strong_count(&result) == 1);
    }

    #[test]
    fn an_abandoned_change_is_recorded_until_it_ends() {
        let patience = Patience::new(Duration::from_secs(25));
        assert_eq!(patience.limit(), Duration::from_secs(27));
        let (go, gone) = mpsc::channel::<()>();
        let call = Call::start(move || gone.recv()).unwrap();
        assert!(call.wait(SOON).is_none());
        let late = patience.late_change("rbd_trash_move on vms/a".to_owned());
        assert!(call.abandon(Some(late)).is_none());
        let first = patience.first_late();
        assert_eq!(first.as_deref(), Some("rbd_trash_move on vms/a"));
        go.send(()).unwrap();
        wait_until(|| patience.first_late().is_none());
    }

    #[test]
    fn a_panic_of_a_call_reaches_the_caller() {
        let caught = catch_unwind(|| within(LATER, || panic!("in the call")));
        let text = caught.unwrap_err().downcast::<&str>();
        assert_eq!(*text.unwrap(), "in the call");
    }
}
