//! What can go wrong, each error saying what failed, on which object, and the errno.

use std::io;
use std::path::PathBuf;

use hostos::errno::{describe, describe_io};
use nix::errno::Errno;

use crate::connection_failure::ConnectionFailure;
use crate::files::Fault;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A Ceph client library cannot be opened.
    #[error(
        "the Ceph client library {library} cannot be opened: {reason}; \
         install the package {package} (it comes with ceph-common)"
    )]
    LibraryMissing {
        /// The library's file name, as it was asked for.
        library: String,
        /// The package that brings it.
        package: &'static str,
        /// What the dynamic linker said.
        reason: String,
    },

    /// A Ceph client library lacks a function: it is older than this crate can work with.
    #[error(
        "{library}, version {version}, has no function {symbol}; \
         update the package {package} to Nautilus (14.2) or later"
    )]
    SymbolMissing {
        /// The function's name.
        symbol: String,
        /// The library's file name, as it was asked for.
        library: String,
        /// The library's version, `major.minor.extra`, or `unknown`.
        version: String,
        /// The package that brings the library.
        package: &'static str,
    },

    /// A local file that the connection needs cannot be read.
    #[error("cannot read the {role} {path}: {}", describe_io(.source))]
    File {
        /// What the file is: `Ceph configuration`, `keyring`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A local file that the connection needs holds what librados cannot read.
    #[error("cannot use the {role} {path}: {fault}; fix: {}", .fault.fix)]
    BadFile {
        /// What the file is: `Ceph configuration`, `keyring`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Box<Fault>,
    },

    /// No connection was made.
    #[error(transparent)]
    NoConnection(Box<ConnectionFailure>),

    /// A call of librados or librbd failed.
    #[error(
        "{call} failed on {object}: {}{}",
        describe(*.errno),
        .detail.as_deref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    Call {
        /// The C function.
        call: &'static str,
        /// What it was called on: a cluster, pool, object, image, or a command's prefix.
        object: String,
        /// The error number, positive.
        errno: i32,
        /// What the cluster or this crate has to say about it.
        detail: Option<String>,
    },

    /// The image may have no more snapshots.
    #[error(
        "cannot take a snapshot of {image}: its limit of {limit} snapshots is reached; \
         remove snapshots, or remove the limit: 'rbd snap limit clear {}'",
        crate::shell::quoted(image)
    )]
    SnapshotLimit {
        /// The image's pool and name.
        image: String,
        /// How many it may have.
        limit: u64,
    },

    /// An argument that no call can be made with.
    #[error("the {argument} cannot be used: {reason}")]
    BadArgument {
        /// Which argument.
        argument: &'static str,
        /// What is wrong with it. Never its value, which may be a secret.
        reason: String,
    },

    /// None of the keyring files has the user's key.
    #[error("{files} contain no key of {user}")]
    NoKey {
        /// The user, with `client.`.
        user: String,
        /// The files that were looked into, as the option `keyring` has them.
        files: String,
    },

    /// The reply of the cluster cannot be read.
    #[error("the reply to {what} cannot be read: {reason}")]
    Malformed {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl Error {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub fn id(&self) -> &'static str {
        match self {
            Self::LibraryMissing { .. } => "SMB-L001",
            Self::SymbolMissing { .. } => "SMB-L002",
            Self::File { .. } => "SMB-L003",
            Self::BadFile { .. } => "SMB-L004",
            Self::NoConnection(failure) => failure.cause.id(),
            Self::Call { .. } => "SMB-L005",
            Self::SnapshotLimit { .. } => "SMB-L006",
            Self::BadArgument { .. } => "SMB-L007",
            Self::NoKey { .. } => "SMB-L008",
            Self::Malformed { .. } => "SMB-L009",
        }
    }

    /// The error number (positive), where a call or a file gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Call { errno, .. } => Some(*errno),
            Self::File { source, .. } => source.raw_os_error(),
            Self::NoConnection(failure) => failure.errno(),
            _ => None,
        }
    }

    /// The object, image, snapshot, pool or key does not exist (ENOENT).
    pub fn is_not_found(&self) -> bool {
        self.is_call_errno(Errno::ENOENT)
    }

    /// What was to be created is there already (EEXIST).
    pub fn is_already_there(&self) -> bool {
        self.is_call_errno(Errno::EEXIST)
    }

    /// A compare-and-swap found something else than it expected (ECANCELED): nothing was changed.
    pub fn is_compare_failed(&self) -> bool {
        self.is_call_errno(Errno::ECANCELED)
    }

    /// No answer came within the deadline (ETIMEDOUT). Of a change, see
    /// [`Error::is_outcome_unknown`].
    pub fn is_timed_out(&self) -> bool {
        self.is_call_errno(Errno::ETIMEDOUT)
    }

    /// **Whether a change was made is unknown**: the cluster may have made it, or may still make
    /// it. Read again before doing anything about it.
    /// See [`is_outcome_unknown`].
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Call { call, errno, .. } => is_outcome_unknown(call, *errno),
            _ => self.is_timed_out(),
        }
    }

    /// The pool's quota is reached (EDQUOT) or the cluster is full (ENOSPC).
    pub fn is_out_of_space(&self) -> bool {
        self.is_call_errno(Errno::EDQUOT) || self.is_call_errno(Errno::ENOSPC)
    }

    /// This client's address was blocklisted (ESHUTDOWN): another one took over its work.
    pub fn is_blocklisted(&self) -> bool {
        self.is_call_errno(Errno::ESHUTDOWN)
    }

    fn is_call_errno(&self, wanted: Errno) -> bool {
        let of_call = matches!(self, Self::Call { .. } | Self::NoConnection(_));
        of_call && self.errno() == Some(wanted as i32)
    }

    /// Adds what was found out about a failed call, after what it said itself.
    pub(crate) fn adding(mut self, text: &str) -> Self {
        if let Self::Call { detail, .. } = &mut self {
            *detail = Some(match detail.take() {
                None => text.to_owned(),
                Some(known) => format!("{known}; {text}"),
            });
        }
        self
    }

    /// Adds what the caller knows about a failed call.
    pub(crate) fn with_detail(mut self, text: impl FnOnce() -> Option<String>) -> Self {
        if let Self::Call {
            detail: detail @ None,
            ..
        } = &mut self
        {
            *detail = text();
        }
        self
    }
}

/// Whether the outcome of a failed call is unknown: after ETIMEDOUT, and after EBADMSG from librbd. Some of
/// librbd's operations with several steps go on after a step without a reply, and then fail to decode it.
#[must_use]
pub fn is_outcome_unknown(call: &str, errno: i32) -> bool {
    errno == Errno::ETIMEDOUT as i32 || (errno == Errno::EBADMSG as i32 && call.starts_with("rbd_"))
}

/// Turns a C result (negative: an errno) into the number or an error.
pub(crate) fn check<N>(call: &'static str, object: impl FnOnce() -> String, result: N) -> Result<N>
where
    N: Copy + Into<i64>,
{
    let number: i64 = result.into();
    if number >= 0 {
        return Ok(result);
    }
    Err(Error::Call {
        call,
        object: object(),
        errno: i32::try_from(number.unsigned_abs()).unwrap_or(i32::MAX),
        detail: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn failed(errno: Errno) -> Error {
        check("rbd_open", || "rbd/vm1".to_owned(), -(errno as i32)).unwrap_err()
    }

    #[test]
    fn a_failed_call_says_what_failed_on_what_and_why() {
        assert_eq!(
            failed(Errno::ENOENT).to_string(),
            "rbd_open failed on rbd/vm1: ENOENT (2): No such file or directory"
        );
        let told = failed(Errno::EPERM).with_detail(|| Some("access denied".to_owned()));
        assert!(told.to_string().ends_with("(access denied)"), "{told}");
    }

    #[test]
    fn an_errno_the_system_does_not_know_keeps_its_number() {
        let error = check("rbd_open", String::new, -4242).unwrap_err();
        assert_eq!(error.errno(), Some(4242));
        assert!(error.to_string().contains("errno 4242"), "{error}");
    }

    #[test]
    fn success_passes_the_number_on() {
        assert_eq!(check("rbd_read", String::new, 4096_i64).unwrap(), 4096);
    }

    #[test]
    fn each_question_about_an_error_answers_for_its_own_errno_only() {
        type Question = fn(&Error) -> bool;
        let table: [(Errno, Question); 7] = [
            (Errno::ENOENT, Error::is_not_found),
            (Errno::EEXIST, Error::is_already_there),
            (Errno::ECANCELED, Error::is_compare_failed),
            (Errno::ETIMEDOUT, Error::is_timed_out),
            (Errno::EDQUOT, Error::is_out_of_space),
            (Errno::ENOSPC, Error::is_out_of_space),
            (Errno::ESHUTDOWN, Error::is_blocklisted),
        ];
        for (errno, question) in table {
            assert!(question(&failed(errno)), "{errno}");
            assert!(!question(&failed(Errno::EIO)), "{errno}");
        }
    }

    #[test]
    fn a_change_without_an_answer_may_have_been_made() {
        assert!(failed(Errno::ETIMEDOUT).is_outcome_unknown());
        assert!(failed(Errno::EBADMSG).is_outcome_unknown());
        assert!(!failed(Errno::EEXIST).is_outcome_unknown());
        let answered = check("rados_mon_command", String::new, -(Errno::EBADMSG as i32));
        assert!(!answered.unwrap_err().is_outcome_unknown());
    }
}
