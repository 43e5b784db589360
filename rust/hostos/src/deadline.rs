//! A moment in time that several steps of a call share, and calls that the kernel may never return from.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

/// The moment by which a call must be over; `None` if it lies beyond what the clock can express.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// That long from now.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    /// What is left; zero once the moment has passed.
    pub fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }

    /// The earlier of this moment and that long from now.
    pub fn at_most(self, limit: Duration) -> Self {
        Self::after(self.left().min(limit))
    }

    /// Whether the moment has passed.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Sleeps for `pause`, or for what is left if that is less.
    pub fn sleep(self, pause: Duration) {
        std::thread::sleep(pause.min(self.left()));
    }
}

/// Runs `work` on a thread of its own and returns its result; `None` if there is none by the deadline.
/// The thread is then left behind: it ends when the kernel returns, or with the process.
///
/// # Errors
/// If there can be no such thread: nothing was done.
pub fn by_deadline<T: Send + 'static>(
    end: Deadline,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    Call::start(work)?.answer(end)
}

/// Something that a thread of its own asks the kernel; left behind when this is dropped.
pub struct Call<T>(mpsc::Receiver<nix::Result<T>>);

impl<T: Send + 'static> Call<T> {
    /// Runs `work` on a thread of its own.
    ///
    /// # Errors
    /// If there can be no such thread: nothing was done.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("kernel-call".to_owned())
            .spawn(move || {
                // The kernel's wait is interruptible: a signal meant for the process must not end
                // it.
                let outcome = SigSet::all().thread_block().map(|()| work());
                if sender.send(outcome).is_err() {
                    log::warn!("the kernel answered a command after its deadline");
                }
            })?;
        Ok(Self(receiver))
    }

    /// Its result; `None` if there is none by the deadline. It can then be asked for again.
    ///
    /// # Errors
    /// If the thread could not do it.
    pub fn answer(&self, end: Deadline) -> io::Result<Option<T>> {
        match self.0.recv_timeout(end.left()) {
            Ok(outcome) => Ok(Some(outcome?)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the thread that calls the kernel died"))
            }
        }
    }
}
