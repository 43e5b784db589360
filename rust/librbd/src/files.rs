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
mod verdict;

use std::path::PathBuf;

pub use self::fault::Fault;

pub(crate) use self::conf::judge as judge_conf;
pub(crate) use self::key::Key;
pub(crate) use self::keyring::{judge as judge_keyring, Judgement};
pub(crate) use self::verdict::{Dialect, Verdict};

/// Returns the files of a `keyring` option, which may be a list. Splits it as librados does.
pub(crate) fn keyring_files(option: &str) -> Vec<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    option
        .split([',', ';', ' ', '\t', '='])
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(path.replacen("~/", &format!("{home}/"), 1)))
        .collect()
}
