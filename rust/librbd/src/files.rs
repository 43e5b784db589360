//! Checks Ceph's files on this host before librados reads them: a configuration, and a keyring.
//!
//! For a file that it cannot use, librados returns only an errno, or ends the process. This module does not
//! call librados. It accepts every file that librados accepts, with one exception: see
//! [`grammar::Stop::Abort`].

mod conf;
mod fault;
pub(crate) mod grammar;
mod key;
mod keyring;
mod lines;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use self::conf::judge as judge_conf;
pub(crate) use self::key::Key;
pub(crate) use self::keyring::{judge as judge_keyring, Judgement};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number of the line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
    /// How to fix it: a command, if there is one.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

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

fn left_out(text: &[u8], offsets: &[usize], path: &Path) -> Vec<Fault> {
    let fault = |&offset: &usize| Fault {
        line: Some(fault::line_number(text, offset)),
        reason:
            "librados ignores the line: it is neither a [section] nor NAME = VALUE, or does not \
                 end with a newline"
                .to_owned(),
        fix: format!("correct or remove the line in {}", path.display()),
    };
    offsets.iter().map(fault).collect()
}

/// Returns the files of a `keyring` option, which may be a list. Splits it as librados does.
pub(crate) fn keyring_files(option: &str) -> Vec<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    option
        .split([',', ';', ' ', '\t', '='])
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(path.replacen("~/", &format!("{home}/"), 1)))
        .collect()
}
