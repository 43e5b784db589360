//! The errors. Each text states what failed, on which object, and the errno.

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
         install the package {package} (`yum install ceph-common` installs it too)"
    )]
    LibraryMissing {
        /// The library's file name.
        library: String,
        /// The package with the library.
        package: &'static str,
        /// The error of the dynamic linker.
        reason: String,
    },

    /// A Ceph client library lacks a function: this crate does not support such an old version.
    #[error(
        "{library}, version {version}, has no function {symbol}; \
         update the package {package} to Nautilus (14.2) or later"
    )]
    SymbolMissing {
        /// The function's name.
        symbol: String,
        /// The library's file name.
        library: String,
        /// The library's version, `major.minor.extra`, or `unknown`.
        version: String,
        /// The package with the library.
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

    /// librados cannot use a local file that the connection needs.
    #[error("cannot use the {role} {path}: {fault}; fix: {}", .fault.fix)]
    BadFile {
        /// What the file is: `Ceph configuration`, `keyring`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Box<Fault>,
    },

    /// The connection failed.
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
        /// The object of the call: a cluster, pool, object, image, or a command's prefix.
        object: String,
        /// The error number, positive.
        errno: i32,
        /// More about the cause, from the cluster or this crate.
        detail: Option<String>,
    },

    /// The limit of an image's snapshots is reached.
    #[error(
        "cannot take a snapshot of {image}: its limit of {limit} snapshots is reached; \
         remove snapshots, or remove the limit: 'rbd snap limit clear {}'",
        crate::shell::quoted(image)
    )]
    SnapshotLimit {
        /// The image's pool and name.
        image: String,
        /// The limit.
        limit: u64,
    },

    /// An invalid argument.
    #[error("the {argument} cannot be used: {reason}")]
    BadArgument {
        /// Which argument.
        argument: &'static str,
        /// What is wrong with it. Never its value, which may be a secret.
        reason: String,
    },

    /// None of the keyring files has the user's key.
    #[error(
        "{files} contain no key of {user}; on a node of the cluster, run `ceph auth get {user}`, and put its \
         output into one of these files"
    )]
    NoKey {
        /// The user, with `client.`.
        user: String,
        /// The files of the option `keyring`.
        files: String,
    },

    /// The reply of the cluster cannot be read.
    #[error("the reply to {what} cannot be read: {reason}")]
    Malformed {
        /// The request.
        what: String,
        /// What is wrong with the reply.
        reason: String,
    },
}

impl Error {
    /// Returns the id of this error in docs/user/errors.md. An id is never used again.
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

    /// Returns the error number (positive); `None` if the error has none.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Call { errno, .. } => Some(*errno),
            Self::File { source, .. } => source.raw_os_error(),
            Self::NoConnection(failure) => failure.errno(),
            _ => None,
        }
    }

    /// Returns whether the object, image, snapshot, pool or key does not exist (ENOENT).
    pub fn is_not_found(&self) -> bool {
        self.is_call_errno(Errno::ENOENT)
    }

    /// Returns whether the new object or image exists already (EEXIST).
    pub fn is_already_there(&self) -> bool {
        self.is_call_errno(Errno::EEXIST)
    }

    /// Returns whether a compare-and-swap found another value than expected (ECANCELED): nothing was changed.
    pub fn is_compare_failed(&self) -> bool {
        self.is_call_errno(Errno::ECANCELED)
    }

    /// Returns whether no reply came within the deadline (ETIMEDOUT). For a change, see
    /// [`Error::is_outcome_unknown`].
    pub fn is_timed_out(&self) -> bool {
        self.is_call_errno(Errno::ETIMEDOUT)
    }

    /// Returns whether **the outcome of a change is unknown**: the cluster may have made it, or may still make
    /// it. The caller must read again. See [`is_outcome_unknown`].
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Call { call, errno, .. } => is_outcome_unknown(call, *errno),
            _ => self.is_timed_out(),
        }
    }

    /// Returns whether the pool's quota is reached (EDQUOT) or the cluster is full (ENOSPC).
    pub fn is_out_of_space(&self) -> bool {
        self.is_call_errno(Errno::EDQUOT) || self.is_call_errno(Errno::ENOSPC)
    }

    /// Returns whether this client was blocklisted (ESHUTDOWN): another host took over its work.
    pub fn is_blocklisted(&self) -> bool {
        self.is_call_errno(Errno::ESHUTDOWN)
    }

    fn is_call_errno(&self, wanted: Errno) -> bool {
        let of_call = matches!(self, Self::Call { .. } | Self::NoConnection(_));
        of_call && self.errno() == Some(wanted as i32)
    }

    /// Adds the cause of a failed call after its existing detail.
    pub(crate) fn adding(mut self, text: &str) -> Self {
        if let Self::Call { detail, .. } = &mut self {
            *detail = Some(match detail.take() {
                None => text.to_owned(),
                Some(first) => format!("{first}; {text}"),
            });
        }
        self
    }

    /// Sets the detail of a failed call that has none.
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

/// Returns whether the outcome of a failed call is unknown: after ETIMEDOUT, and after EBADMSG from librbd.
/// Some operations of librbd with several steps continue after a step without a reply, and then fail to
/// decode it.
#[must_use]
pub fn is_outcome_unknown(call: &str, errno: i32) -> bool {
    errno == Errno::ETIMEDOUT as i32 || (errno == Errno::EBADMSG as i32 && call.starts_with("rbd_"))
}

/// Returns a C result, or the error if it is a negative errno.
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
    fn the_error_of_a_call_has_the_object_the_errno_and_the_detail() {
        assert_eq!(
            failed(Errno::ENOENT).to_string(),
            "rbd_open failed on rbd/vm1: ENOENT (2): No such file or directory"
        );
        let error = failed(Errno::EPERM).with_detail(|| Some("access denied".to_owned()));
        assert!(error.to_string().ends_with("(access denied)"), "{error}");
    }

    #[test]
    fn an_undefined_errno_keeps_its_number() {
        let error = check("rbd_open", String::new, -4242).unwrap_err();
        assert_eq!(error.errno(), Some(4242));
        assert!(error.to_string().contains("errno 4242"), "{error}");
    }

    #[test]
    fn check_returns_the_result_of_a_success() {
        assert_eq!(check("rbd_read", String::new, 4096_i64).unwrap(), 4096);
    }

    #[test]
    fn each_predicate_is_true_for_its_own_errno_only() {
        type Predicate = fn(&Error) -> bool;
        let table: [(Errno, Predicate); 7] = [
            (Errno::ENOENT, Error::is_not_found),
            (Errno::EEXIST, Error::is_already_there),
            (Errno::ECANCELED, Error::is_compare_failed),
            (Errno::ETIMEDOUT, Error::is_timed_out),
            (Errno::EDQUOT, Error::is_out_of_space),
            (Errno::ENOSPC, Error::is_out_of_space),
            (Errno::ESHUTDOWN, Error::is_blocklisted),
        ];
        for (errno, predicate) in table {
            assert!(predicate(&failed(errno)), "{errno}");
            assert!(!predicate(&failed(Errno::EIO)), "{errno}");
        }
    }

    #[test]
    fn the_outcome_of_a_change_without_a_reply_is_unknown() {
        assert!(failed(Errno::ETIMEDOUT).is_outcome_unknown());
        assert!(failed(Errno::EBADMSG).is_outcome_unknown());
        assert!(!failed(Errno::EEXIST).is_outcome_unknown());
        let of_monitors = check("rados_mon_command", String::new, -(Errno::EBADMSG as i32));
        assert!(!of_monitors.unwrap_err().is_outcome_unknown());
    }
}
