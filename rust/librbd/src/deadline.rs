//! Calls that end by a moment of this host's clock, whatever librados and librbd do.
//!
//! The timeouts of librados bound one request. Many functions of librbd send several, wait for a lock
//! or try again, some of them without end; `rados_connect` of Nautilus takes ten times its timeout. So
//! each function that may block runs on a thread of its own. If there is no result by the deadline, the
//! caller gets ETIMEDOUT and the thread is left behind.
//!
//! **What is left behind.** The thread owns all that the call needs: copies of the arguments, and
//! shares of the handles, so that none is closed under it. The call may still be carried out, so
//! [`Error::is_outcome_unknown`] holds. Until it ends, this connection refuses every other change to an
//! image: nothing that this process does can meet the late effect. The end of the process does not wait
//! for it ([`guard_exit`](crate::guard_exit)) and is its end too.
//!
//! Reads and writes of omaps, and class methods, are single requests that librados bounds
//! (`rados_osd_op_timeout`); they are called directly.

use std::any::Any;
use std::io;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::in_flight::InFlight;
use crate::progress::{Beats, Progress};

/// How often a long call reports its progress.
const REPORT: Duration = Duration::from_secs(1);

/// As large as the stack of a program's first thread.
const STACK: usize = 8 << 20;

type Outcome<T> = std::result::Result<T, Box<dyn Any + Send>>;

/// Something that a thread of its own does.
pub(crate) struct Call<T>(Arc<Slot<T>>);

struct Slot<T> {
    state: Mutex<State<T>>,
    over: Condvar,
}

enum State<T> {
    UnderWay,
    Over(Outcome<T>),
    Taken,
    /// The caller does not wait any more. What is in here goes when the call ends.
    GivenUp {
        _in_flight: InFlight,
        _late: Option<LateChange>,
    },
}

impl<T: Send + 'static> Call<T> {
    /// # Errors
    /// If there can be no such thread: nothing was done.
    pub(crate) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let slot = Arc::new(Slot {
            state: Mutex::new(State::UnderWay),
            over: Condvar::new(),
        });
        let shared = slot.clone();
        let thread = thread::Builder::new().name("ceph-call".to_owned());
        thread.stack_size(STACK).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)); // drops what `work` owns
            let mut state = shared.lock();
            if let State::GivenUp { .. } = *state {
                let given_up = std::mem::replace(&mut *state, State::Taken);
                drop(state);
                drop(outcome); // may close a handle
                drop(given_up);
            } else {
                *state = State::Over(outcome);
                shared.over.notify_all();
            }
        })?;
        Ok(Self(slot))
    }

    /// The result, if there is one within `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Option<T> {
        let state = self.0.lock();
        let waited = self
            .0
            .over
            .wait_timeout_while(state, limit, |state| matches!(state, State::UnderWay));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        take(&mut state)
    }

    /// Leaves the thread behind, unless the result came this moment.
    pub(crate) fn give_up(self, late: Option<LateChange>) -> Option<T> {
        let mut state = self.0.lock();
        if let State::UnderWay = *state {
            *state = State::GivenUp {
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

/// The result of `work`, if there is one within `limit`. What is late changes nothing.
///
/// # Errors
/// If there can be no thread for it: nothing was done.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let call = Call::start(work)?;
    Ok(call.wait(limit).or_else(|| call.give_up(None)))
}

/// How long the calls of a connection may take, and its changes that were given up.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    late: Arc<Mutex<Vec<String>>>,
}

impl Patience {
    /// `timeout` is that of a single request. A function that sends only one ends a little earlier
    /// than its deadline here, with librados' own result.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            limit: timeout + (timeout / 8).min(Duration::from_secs(2)),
            late: Arc::default(),
        }
    }

    /// Longer than one request may take.
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

/// A change that was given up and is under way, until this is dropped.
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

impl Cluster {
    /// Makes a call that changes nothing.
    pub(crate) fn read_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let limit = self.patience().limit();
        match within(limit, work) {
            Ok(Some(result)) => result,
            Ok(None) => Err(overdue(call, object, limit)),
            Err(error) => Err(no_thread(call, object, &error)),
        }
    }

    /// Makes a call that may change something.
    pub(crate) fn change_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.long_change_in_time(call, object, &mut |_, _| {}, |_| work())
    }

    /// As [`Cluster::change_in_time`], of a call that may take long: the deadline begins again with
    /// each piece that is done.
    pub(crate) fn long_change_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        progress: Progress<'_>,
        work: impl FnOnce(&Beats) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if let Some(late) = self.patience().first_late() {
            let reason = format!("it was not made: {late} has not ended");
            return Err(timed_out(call, object, reason));
        }
        let limit = self.patience().limit();
        let beats = Arc::new(Beats::default());
        let shared = beats.clone();
        let running =
            Call::start(move || work(&shared)).map_err(|error| no_thread(call, object, &error))?;
        let (mut seen, mut since) = (beats.count(), Instant::now());
        loop {
            let left = limit.saturating_sub(since.elapsed());
            let result = running.wait(left.min(REPORT));
            let now = beats.count();
            let goes_on = now != seen;
            if goes_on {
                (seen, since) = (now, Instant::now());
                let (done, total) = beats.last();
                progress(done, total);
            }
            match result {
                Some(result) => return result,
                None if !goes_on && left.is_zero() => break,
                None => {}
            }
        }
        beats.stop();
        let late = self.patience().late_change(format!("{call} on {object}"));
        let result = running.give_up(Some(late));
        result.unwrap_or_else(|| Err(overdue(call, object, limit)))
    }
}

/// The error for a call that had no result in time.
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
        detail: Some("no thread can be started for it".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SOON: Duration = Duration::from_millis(20);
    const LATER: Duration = Duration::from_secs(20);

    /// Waits until what other threads do has come true.
    fn comes_true(holds: impl Fn() -> bool) {
        let end = Instant::now() + LATER;
        while !holds() {
            assert!(Instant::now() < end, "it does not come true");
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
            "the thread keeps what it owns"
        );
        go.send(()).unwrap();
        comes_true(|| Arc::strong_count(&result) == 1);
    }

    #[test]
    fn a_change_that_was_given_up_is_known_until_it_ends() {
        let patience = Patience::new(Duration::from_secs(25));
        assert_eq!(patience.limit(), Duration::from_secs(27));
        let (go, gone) = mpsc::channel::<()>();
        let call = Call::start(move || gone.recv()).unwrap();
        assert!(call.wait(SOON).is_none());
        let late = patience.late_change("rbd_trash_move on vms/a".to_owned());
        assert!(call.give_up(Some(late)).is_none());
        let known = patience.first_late();
        assert_eq!(known.as_deref(), Some("rbd_trash_move on vms/a"));
        go.send(()).unwrap();
        comes_true(|| patience.first_late().is_none());
    }

    #[test]
    fn a_panic_of_a_call_is_its_callers() {
        let caught = catch_unwind(|| within(LATER, || panic!("in the call")));
        let text = caught.unwrap_err().downcast::<&str>();
        assert_eq!(*text.unwrap(), "in the call");
    }
}
