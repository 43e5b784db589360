//! The requests of a client that are under way, and how much memory they take.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::aligned::ALIGNMENT;
use crate::memory::{Memory, OWN};
use crate::protocol::MAX_PAYLOAD;
use crate::request::Request;

/// What one client takes at most of the memory that all share, in bytes: one request of the largest size.
const BUDGET: usize = MAX_PAYLOAD as usize + ALIGNMENT;

/// The requests of one client that are under way.
#[derive(Debug, Default)]
pub struct Pending {
    state: Mutex<State>,
    freed: Condvar,
    memory: Arc<Memory>,
}

/// A request that may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub number: u64,
    /// Whether there is memory for all of its data, and not for a piece only.
    pub whole: bool,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    taken: Taken,
    closed: bool,
    abandoned: bool,
    requests: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    request: Request,
    taken: Taken,
    phase: Phase,
}

/// How much memory is taken, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    own: usize,
    shared: usize,
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
    /// No requests yet.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            memory,
        }
    }

    /// Notes a request with that many bytes of data. Waits for memory of other requests of this client, never for
    /// another client. `None` if the connection has ended.
    pub fn begin(&self, request: Request, size: usize) -> Option<Begun> {
        let size = size + ALIGNMENT;
        let mut state = self.state();
        let (taken, whole) = loop {
            if state.closed {
                return None;
            }
            if let Some(found) = self.take(&state, size) {
                break found;
            }
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        let number = state.next;
        state.next += 1;
        state.taken.own += taken.own;
        state.taken.shared += taken.shared;
        let entry = Entry {
            request,
            taken,
            phase: Phase::Queued,
        };
        state.requests.insert(number, entry);
        Some(Begun { number, whole })
    }

    /// Takes memory for that many bytes, or for a piece of them if this client has no other request. `None`: none is
    /// free.
    fn take(&self, state: &State, size: usize) -> Option<(Taken, bool)> {
        let (own, shared) = (state.taken.own, state.taken.shared);
        if own + size <= OWN {
            let taken = Taken {
                own: size,
                shared: 0,
            };
            return Some((taken, true));
        }
        if shared + size <= BUDGET && self.memory.take(size) {
            let taken = Taken {
                own: 0,
                shared: size,
            };
            return Some((taken, true));
        }
        let piece = Taken {
            own: OWN,
            shared: 0,
        };
        state.requests.is_empty().then_some((piece, false))
    }

    /// Notes that the device has done a part of a request, and the client has the next one.
    pub fn pause(&self, number: u64) {
        if let Some(entry) = self.state().requests.get_mut(&number) {
            if let Phase::Working(_) = entry.phase {
                entry.phase = Phase::Queued;
            }
        }
    }

    /// Notes that the device begins a request, or has done a part of it. Returns `false` if the request has failed
    /// meanwhile, or is not to be served any more.
    pub fn progress(&self, number: u64) -> bool {
        let mut state = self.state();
        if state.abandoned {
            return false;
        }
        match state.requests.get_mut(&number) {
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
            state.taken.own -= entry.taken.own;
            state.taken.shared -= entry.taken.shared;
            self.memory.give(entry.taken.shared);
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

    /// Has the device get no further request, and no further part of one.
    pub fn abandon(&self) {
        self.state().abandoned = true;
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

/// A client may be gone in the middle of a request.
impl Drop for Pending {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.memory.give(state.taken.shared);
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

    const LARGEST: usize = MAX_PAYLOAD as usize;
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
        let first = pending.begin(REQUEST, 0).unwrap().number;
        assert!(pending.take_overdue(Duration::ZERO).is_empty()); // no thread has it
        pending.progress(first);
        assert!(pending.take_overdue(Duration::from_secs(60)).is_empty());
        assert_eq!(pending.take_overdue(Duration::ZERO), [REQUEST]);
        assert!(pending.take_overdue(Duration::ZERO).is_empty());
        assert_eq!(pending.state().taken.own, ALIGNMENT);
        assert!(!pending.answer(first));
        assert_eq!(pending.state().taken, Taken::default());
    }

    #[test]
    fn a_queued_request_that_fails_with_another_one_does_not_begin() {
        let pending = Pending::default();
        let first = pending.begin(REQUEST, 0).unwrap().number;
        let queued = pending.begin(REQUEST, 0).unwrap().number;
        assert!(pending.progress(first));
        assert_eq!(pending.take_overdue(Duration::ZERO).len(), 2);
        assert!(!pending.progress(queued));
    }

    #[test]
    fn a_request_with_progress_is_not_overdue() {
        let pending = Pending::default();
        let first = pending.begin(REQUEST, 0).unwrap().number;
        pending.progress(first);
        std::thread::sleep(Duration::from_millis(30));
        pending.progress(first);
        assert!(pending.take_overdue(Duration::from_millis(20)).is_empty());
        assert!(pending.answer(first));
        assert!(pending.take_overdue(Duration::ZERO).is_empty());
    }

    #[test]
    fn a_request_waits_for_memory_of_its_own_client_until_the_connection_ends() {
        let pending = Pending::default();
        let first = pending.begin(REQUEST, OWN - ALIGNMENT).unwrap();
        let large = pending.begin(REQUEST, LARGEST).unwrap();
        assert!(first.whole && large.whole);
        std::thread::scope(|scope| {
            let next = scope.spawn(|| pending.begin(REQUEST, 1));
            pending.end(first.number);
            assert!(next.join().unwrap().unwrap().whole);
            let last = scope.spawn(|| pending.begin(REQUEST, LARGEST));
            pending.close();
            assert_eq!(last.join().unwrap(), None);
        });
    }

    #[test]
    fn a_client_needs_no_memory_that_others_have() {
        let memory = Arc::new(Memory::default());
        let others: Vec<_> = (0..8).map(|_| Pending::new(memory.clone())).collect();
        let begun = others.iter().map(|of| of.begin(REQUEST, LARGEST).unwrap());
        let begun: Vec<_> = begun.collect();
        assert_eq!(begun.iter().filter(|of| of.whole).count(), 2);
        let pending = Pending::new(memory);
        let large = pending.begin(REQUEST, LARGEST).unwrap();
        assert!(!large.whole, "served in pieces");
        pending.end(large.number);
        assert!(pending.begin(REQUEST, OWN - ALIGNMENT).unwrap().whole);
        for (of, begun) in others.iter().zip(begun) {
            of.end(begun.number);
        }
        assert!(pending.begin(REQUEST, LARGEST).unwrap().whole);
    }

    #[test]
    fn a_client_that_is_gone_in_a_write_leaves_all_shared_memory() {
        let memory = Arc::new(Memory::default());
        for _ in 0..3 {
            let pending = Pending::new(memory.clone());
            assert!(pending.begin(REQUEST, LARGEST).unwrap().whole);
        }
    }

    #[test]
    fn a_request_that_waits_for_its_client_is_not_overdue() {
        let pending = Pending::default();
        let first = pending.begin(REQUEST, 0).unwrap().number;
        pending.progress(first);
        pending.pause(first);
        assert!(pending.take_overdue(Duration::ZERO).is_empty());
    }
}
