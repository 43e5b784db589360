//! The requests of a client that are under way, and how much memory they take.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::protocol::MAX_PAYLOAD;
use crate::request::Request;

/// For all data of one client that is under way, in bytes: one request of the largest size.
const BUDGET: usize = MAX_PAYLOAD as usize;
/// What a request takes besides its data.
const LEAST: usize = 4096;

/// The requests of one client that are under way.
#[derive(Debug, Default)]
pub struct Pending {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    taken: usize,
    closed: bool,
    requests: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    request: Request,
    size: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Its data arrives, or it waits for a thread.
    Queued,
    /// The device has it; its last sign of progress.
    Working(Instant),
    /// Its reply is being sent, or was.
    Answered,
}

impl Pending {
    /// Notes a request with that many bytes of data, and returns its number. Waits until others have freed their
    /// memory. `None` if the connection has ended.
    pub fn begin(&self, request: Request, size: usize) -> Option<u64> {
        let size = size.max(LEAST);
        let mut state = self.state();
        while !state.closed && state.taken > 0 && state.taken + size > BUDGET {
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.taken += size;
        let entry = Entry {
            request,
            size,
            phase: Phase::Queued,
        };
        state.requests.insert(number, entry);
        Some(number)
    }

    /// Notes that the device begins a request, or has done a part of it. Returns `false` if the request has failed
    /// meanwhile.
    pub fn progress(&self, number: u64) -> bool {
        match self.state().requests.get_mut(&number) {
            Some(entry) if !matches!(entry.phase, Phase::Answered) => {
                entry.phase = Phase::Working(Instant::now());
                true
            }
            _ => false,
        }
    }

    /// Returns whether the caller is to send the reply: `false` if the request has failed meanwhile.
    pub fn answer(&self, number: u64) -> bool {
        let mut state = self.state();
        if state.requests.get_mut(&number).is_some_and(Entry::answer) {
            return true;
        }
        drop(state);
        self.end(number);
        false
    }

    /// Frees what a request has taken.
    pub fn end(&self, number: u64) {
        let mut state = self.state();
        if let Some(entry) = state.requests.remove(&number) {
            state.taken -= entry.size;
            self.freed.notify_all();
        }
    }

    /// Returns all requests without a reply, if one of them has made no progress for that long. The caller sends
    /// their replies.
    pub fn take_overdue(&self, limit: Duration) -> Vec<Request> {
        let mut state = self.state();
        let is_overdue = |entry: &Entry| match entry.phase {
            Phase::Working(since) => since.elapsed() > limit,
            Phase::Queued | Phase::Answered => false,
        };
        if !state.requests.values().any(is_overdue) {
            return Vec::new();
        }
        let entries = state.requests.values_mut();
        let failed = entries.filter_map(|entry| entry.answer().then_some(entry.request));
        failed.collect()
    }

    /// Has no further request begin.
    pub fn close(&self) {
        self.state().closed = true;
        self.freed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Returns whether it has no reply yet. From now on it has one.
    fn answer(&mut self) -> bool {
        let before = std::mem::replace(&mut self.phase, Phase::Answered);
        !matches!(before, Phase::Answered)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const REQUEST: Request = Request {
        flags: 0,
        command: 0,
        cookie: 7,
        offset: 0,
        length: 1,
    };

    #[test]
    fn an_overdue_request_fails_once_and_frees_its_memory_later() {
        let pending = Pending::default();
        let first = pending.begin(REQUEST, 0).unwrap();
        assert!(pending.take_overdue(Duration::ZERO).is_empty()); // no thread has it
        pending.progress(first);
        assert!(pending.take_overdue(Duration::from_secs(60)).is_empty());
        assert_eq!(pending.take_overdue(Duration::ZERO), [REQUEST]);
        assert!(pending.take_overdue(Duration::ZERO).is_empty());
        assert_eq!(pending.state().taken, LEAST);
        assert!(!pending.answer(first));
        assert_eq!(pending.state().taken, 0);
    }

    #[test]
    fn a_queued_request_that_fails_with_another_one_does_not_begin() {
        let pending = Pending::default();
        let first = pending.begin(REQUEST, 0).unwrap();
        let queued = pending.begin(REQUEST, 0).unwrap();
        assert!(pending.progress(first));
        assert_eq!(pending.take_overdue(Duration::ZERO).len(), 2);
        assert!(!pending.progress(queued));
    }

    #[test]
    fn a_request_with_progress_is_not_overdue() {
        let pending = Pending::default();
        let first = pending.begin(REQUEST, 0).unwrap();
        pending.progress(first);
        std::thread::sleep(Duration::from_millis(30));
        pending.progress(first);
        assert!(pending.take_overdue(Duration::from_millis(20)).is_empty());
        assert!(pending.answer(first));
        assert!(pending.take_overdue(Duration::ZERO).is_empty());
    }

    #[test]
    fn a_request_waits_for_memory_until_the_connection_ends() {
        let pending = Pending::default();
        let large = pending.begin(REQUEST, BUDGET).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| pending.begin(REQUEST, 1));
            pending.end(large);
            assert!(next.join().unwrap().is_some());
            let last = scope.spawn(|| pending.begin(REQUEST, BUDGET));
            pending.close();
            assert_eq!(last.join().unwrap(), None);
        });
    }
}
