//! The form that an errno has in every text, and errors that have an errno.

use std::io;

use nix::errno::Errno;

/// An error of this host.
pub trait HasErrno: std::error::Error {
    /// Returns the errno, a positive number; `None` if the error has none.
    fn errno(&self) -> Option<i32>;

    /// Returns the id of the error in docs/user/errors.md; `None` if it has none.
    fn id(&self) -> Option<&'static str> {
        None
    }
}

/// Returns `ENOENT (2): No such file or directory` for 2.
#[must_use]
pub fn describe(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?} ({errno}): {}", known.desc()),
    }
}

/// As [`describe`]; returns the error's own text if it has no errno. The standard library's text of an
/// errno ends with "(os error 2)".
#[must_use]
pub fn describe_io(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.to_string(), describe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_has_its_name_its_number_and_its_text() {
        assert_eq!(describe(2), "ENOENT (2): No such file or directory");
        assert_eq!(describe(4242), "errno 4242");
    }

    #[test]
    fn an_io_error_without_an_errno_keeps_its_text() {
        assert_eq!(describe_io(&io::Error::other("no header")), "no header");
        let failed = io::Error::from_raw_os_error(nix::libc::EACCES);
        assert_eq!(describe_io(&failed), "EACCES (13): Permission denied");
    }
}
