//! An errno as an administrator reads it.

use nix::errno::Errno;

/// `No such file or directory (ENOENT, errno 2)`.
pub fn describe(errno: i32) -> String {
    let known = Errno::from_raw(errno);
    format!("{} ({known:?}, errno {errno})", known.desc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_has_its_text_its_name_and_its_number() {
        assert_eq!(describe(2), "No such file or directory (ENOENT, errno 2)");
    }
}
