//! The result of the check of a file.

use std::path::Path;

use super::fault::{line_number, Fault};

/// What librados does with a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// librados refuses the file, or aborts.
    pub(crate) refusal: Option<Fault>,
    /// librados accepts the file, but it does not have the user's key.
    pub(crate) missing: Option<Fault>,
    /// librados accepts the file, but ignores these lines.
    pub(crate) warnings: Vec<Fault>,
    /// The refusal is an abort.
    pub(crate) aborts: bool,
    /// The file names monitors without `mon_host`.
    pub(crate) has_other_monitors: bool,
}

/// The way in which librados parses such files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Before Octopus (15).
    Lines,
    /// Octopus and later.
    Grammar,
}

pub(super) fn left_out(text: &[u8], offsets: &[usize], path: &Path) -> Vec<Fault> {
    let fault = |&offset: &usize| Fault {
        line: Some(line_number(text, offset)),
        reason:
            "librados ignores the line: it is neither a [section] nor NAME = VALUE, or does not \
                 end with a newline"
                .to_owned(),
        fix: format!("correct or remove the line in {}", path.display()),
    };
    offsets.iter().map(fault).collect()
}
