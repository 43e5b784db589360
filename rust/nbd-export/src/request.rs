//! One request of a client, and whether it can be served.

use crate::protocol::{command, error, flag, MAX_PAYLOAD, REQUEST_MAGIC};

/// The bytes of a request before its data.
pub const HEADER: usize = 28;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bits of [`flag`].
    pub flags: u16,
    /// A number of [`command`].
    pub command: u16,
    /// The client's number for it.
    pub cookie: u64,
    /// In bytes, from the start of the export.
    pub offset: u64,
    /// In bytes.
    pub length: u32,
}

impl Request {
    /// Returns the request of a header; `None` if it is no request of NBD.
    #[must_use]
    pub fn parse(header: &[u8; HEADER]) -> Option<Self> {
        let mut at = 0;
        let mut next = |size: usize| {
            let number = header[at..at + size].iter();
            at += size;
            number.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        (next(4) == u64::from(REQUEST_MAGIC)).then(|| Self {
            flags: next(2) as u16,
            command: next(2) as u16,
            cookie: next(8),
            offset: next(8),
            length: next(4) as u32,
        })
    }

    /// Returns whether the client wants the data on the disk before the reply.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.flags & flag::FUA != 0
    }

    /// Returns NBD's error if the request cannot be served on an export of that size.
    ///
    /// # Errors
    /// One of [`error`].
    pub fn check(&self, size: u64, read_only: bool, allocation: bool) -> Result<(), u32> {
        let (is_read, is_write) = match self.command {
            command::READ => (true, false),
            command::BLOCK_STATUS if allocation => (true, false),
            command::WRITE | command::TRIM | command::WRITE_ZEROES => (false, true),
            command::FLUSH => (false, false),
            _ => return Err(error::EINVAL),
        };
        if self.flags & !allowed(self.command) != 0 {
            return Err(error::EINVAL);
        }
        if !is_read && !is_write {
            // Reserved: "MUST be zero" (proto.md, NBD_CMD_FLUSH).
            let is_plain = self.offset == 0 && self.length == 0;
            return if is_plain { Ok(()) } else { Err(error::EINVAL) };
        }
        if is_write && read_only {
            return Err(error::EPERM);
        }
        let is_too_large = self.carries_data() && self.length > MAX_PAYLOAD;
        if self.length == 0 || is_too_large {
            return Err(error::EINVAL);
        }
        let end = self.offset.checked_add(u64::from(self.length));
        if end.is_none_or(|end| end > size) {
            let is_beyond = matches!(self.command, command::WRITE | command::WRITE_ZEROES);
            return Err(if is_beyond {
                error::ENOSPC
            } else {
                error::EINVAL
            });
        }
        Ok(())
    }

    /// Returns whether the request or its reply has as many bytes of data as it states.
    #[must_use]
    pub fn carries_data(&self) -> bool {
        matches!(self.command, command::READ | command::WRITE)
    }
}

fn allowed(number: u16) -> u16 {
    match number {
        // FUA without effect: "clients SHOULD NOT set", servers accept it.
        command::READ => flag::DF | flag::FUA,
        command::WRITE_ZEROES => flag::FUA | flag::NO_HOLE | flag::FAST_ZERO,
        command::BLOCK_STATUS => flag::REQ_ONE | flag::FUA,
        _ => flag::FUA,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn request(command: u16, offset: u64, length: u32) -> Request {
        Request {
            flags: 0,
            command,
            cookie: 7,
            offset,
            length,
        }
    }

    #[test]
    fn a_header_is_read_and_another_magic_refused() {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        header[5] = 1;
        header[7] = 6;
        header[15] = 7;
        header[23] = 9;
        header[27] = 4;
        let found = Request::parse(&header).unwrap();
        let wanted = Request {
            flags: flag::FUA,
            ..request(command::WRITE_ZEROES, 9, 4)
        };
        assert_eq!(found, wanted);
        assert!(found.is_durable());
        header[0] = 0;
        assert_eq!(Request::parse(&header), None);
    }

    #[test]
    fn a_request_beyond_the_end_is_refused_as_nbd_wants_it() {
        let check = |request: Request| request.check(4096, false, true);
        assert_eq!(check(request(command::READ, 0, 4096)), Ok(()));
        assert_eq!(check(request(command::READ, 1, 4096)), Err(error::EINVAL));
        assert_eq!(check(request(command::WRITE, 1, 4096)), Err(error::ENOSPC));
        let last = request(command::WRITE_ZEROES, u64::MAX, u32::MAX);
        assert_eq!(check(last), Err(error::ENOSPC));
        assert_eq!(
            check(request(command::TRIM, u64::MAX, 1)),
            Err(error::EINVAL)
        );
        assert_eq!(check(request(command::READ, 0, 0)), Err(error::EINVAL));
        assert_eq!(check(request(command::FLUSH, 0, 0)), Ok(()));
        assert_eq!(check(request(99, 0, 1)), Err(error::EINVAL));
    }

    #[test]
    fn data_above_the_limit_and_unknown_flags_are_refused() {
        let large = request(command::READ, 0, MAX_PAYLOAD + 1);
        assert_eq!(large.check(1 << 40, false, true), Err(error::EINVAL));
        let zeroes = request(command::WRITE_ZEROES, 0, MAX_PAYLOAD + 1);
        assert_eq!(zeroes.check(1 << 40, false, true), Ok(()));
        let flagged = Request {
            flags: flag::NO_HOLE,
            ..request(command::TRIM, 0, 1)
        };
        assert_eq!(flagged.check(4096, false, true), Err(error::EINVAL));
    }

    #[test]
    fn a_read_only_export_takes_no_write_and_no_context_no_status() {
        let write = request(command::WRITE, 0, 1);
        assert_eq!(write.check(4096, true, true), Err(error::EPERM));
        let status = request(command::BLOCK_STATUS, 0, 1);
        assert_eq!(status.check(4096, true, false), Err(error::EINVAL));
    }
}
