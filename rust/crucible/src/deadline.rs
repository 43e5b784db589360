//! One moment in time that several steps of a call share.

use std::time::{Duration, Instant};

/// The moment by which a call must be over; `None` where it lies beyond what the clock can express.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    /// What is left; zero once the moment has passed.
    pub(crate) fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }

    pub(crate) fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Sleeps for `pause`, or for what is left if that is less.
    pub(crate) fn sleep(self, pause: Duration) {
        std::thread::sleep(pause.min(self.left()));
    }
}
