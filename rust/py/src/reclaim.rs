//! What reclaim reports, for Python.

use store::sr::reclaim::{Kind, Pending, Report};

/// The state, its text, and how much is done, of how much. See [`Sr::reclaim`](crate::sr::Sr).
pub fn describe(pending: &Pending, report: &Report<'_>) -> (&'static str, String, (u64, u64)) {
    let (state, text) = match report {
        Report::Progress(done, total) => {
            let unit = match pending.kind {
                Kind::Hidden { .. } => "bytes",
                _ => "objects",
            };
            return ("progress", unit.to_owned(), (*done, *total));
        }
        Report::Done => ("done", pending.kind.done().to_owned()),
        Report::Failed(error) => ("failed", error.to_string()),
        Report::Waits => {
            let holds_up = pending.holds_up.as_ref().map(ToString::to_string);
            ("waits", holds_up.unwrap_or_default())
        }
    };
    (state, text, (0, 0))
}
