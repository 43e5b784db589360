//! A moment in time that several steps of a call share, and kernel calls that may never return.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

/// The moment by which a call must be over; `None` if the clock cannot express it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Returns the moment `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    /// Returns the time that is left; zero when the moment has passed.
    pub fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }

    /// Returns the earlier of this moment and the moment `limit` from now.
    pub fn at_most(self, limit: Duration) -> Self {
        Self::after(self.left().min(limit))
    }

    /// Returns whether the moment has passed.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Sleeps for `pause`, or for the time that is left if that is less.
    pub fn sleep(self, pause: Duration) {
        std::thread::sleep(pause.min(self.left()));
    }
}

/// Runs `work` on a new thread and returns its result; `None` if it has none at the deadline. The thread
/// then stays behind: it ends when the kernel returns, or with the process.
///
/// # Errors
/// If the thread cannot be created: nothing was done.
pub fn by_deadline<T: Send + 'static>(
    end: Deadline,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    Call::start(work)?.wait(end)
}

/// A kernel call on a thread of its own. The thread stays behind when this is dropped.
pub struct Call<T>(mpsc::Receiver<nix::Result<T>>);

impl<T: Send + 'static> Call<T> {
    /// Runs `work` on a new thread.
    ///
    /// # Errors
    /// If the thread cannot be created: nothing was done.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("kernel-call".to_owned())
            .spawn(move || {
                // The kernel's wait is interruptible. A signal to the process must not end it.
                let outcome = SigSet::all().thread_block().map(|()| work());
                if sender.send(outcome).is_err() {
                    log::warn!("a call of the kernel returned after its deadline");
                }
            })?;
        Ok(Self(receiver))
    }

    /// Waits for the result; `None` if there is none at the deadline. The caller can then wait again.
    ///
    /// # Errors
    /// If the thread could not make the call.
    pub fn wait(&self, end: Deadline) -> io::Result<Option<T>> {
        match self.0.recv_timeout(end.left()) {
            Ok(outcome) => Ok(Some(outcome?)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the thread that calls the kernel died"))
            }
        }
    }
}
