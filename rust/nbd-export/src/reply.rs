//! The reply to a request: simple, or one chunk of a structured reply.

use std::io;

use crate::aligned::Aligned;
use crate::channel::Channel;
use crate::protocol::{chunk, CHUNK_MAGIC, SIMPLE_REPLY_MAGIC};
use crate::request::Request;

/// What a request returns.
pub enum Reply {
    /// Nothing but success.
    Done,
    /// What was read.
    Data(Aligned),
    /// A part of what was read, and its offset in the export. Another one follows. Structured only.
    Part(u64, Aligned),
    /// The context, and the states of parts.
    Status(Vec<u8>),
    /// NBD's number of an error, and the reason.
    Failed(u32, String),
}

impl Reply {
    /// Sends the reply to a request.
    ///
    /// # Errors
    /// The connection has ended, or the client does not read.
    pub fn send(&self, request: &Request, structured: bool, to: &mut Channel) -> io::Result<()> {
        if structured {
            self.send_chunk(request, to)
        } else {
            self.send_simple(request, to)
        }
    }

    fn send_simple(&self, request: &Request, to: &mut Channel) -> io::Result<()> {
        let (number, data) = match self {
            Self::Failed(number, _) => (*number, &[][..]),
            Self::Data(data) | Self::Part(_, data) => (0, data.data()),
            Self::Done | Self::Status(_) => (0, &[][..]),
        };
        let header = [
            &SIMPLE_REPLY_MAGIC.to_be_bytes()[..],
            &number.to_be_bytes(),
            &request.cookie.to_be_bytes(),
        ];
        to.send(&header.concat(), data)
    }

    fn send_chunk(&self, request: &Request, to: &mut Channel) -> io::Result<()> {
        let (kind, head, data) = match self {
            Self::Part(offset, data) => {
                return send_chunk(
                    request,
                    (0, chunk::OFFSET_DATA),
                    &offset.to_be_bytes(),
                    data.data(),
                    to,
                )
            }
            Self::Done => (chunk::NONE, Vec::new(), &[][..]),
            Self::Data(data) => (
                chunk::OFFSET_DATA,
                request.offset.to_be_bytes().to_vec(),
                data.data(),
            ),
            Self::Status(status) => (chunk::BLOCK_STATUS, Vec::new(), &status[..]),
            Self::Failed(number, text) => {
                let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
                let size = u16::try_from(text.len()).unwrap_or(u16::MAX);
                let head = [&number.to_be_bytes()[..], &size.to_be_bytes()].concat();
                (chunk::ERROR, head, text)
            }
        };
        send_chunk(request, (chunk::DONE, kind), &head, data, to)
    }
}

fn send_chunk(
    request: &Request,
    (flags, kind): (u16, u16),
    head: &[u8],
    data: &[u8],
    to: &mut Channel,
) -> io::Result<()> {
    let length = u32::try_from(head.len() + data.len()).unwrap_or(u32::MAX);
    let header = [
        &CHUNK_MAGIC.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &kind.to_be_bytes(),
        &request.cookie.to_be_bytes(),
        &length.to_be_bytes(),
        head,
    ];
    to.send(&header.concat(), data)
}
