//! What the simulator's two programs tell each other: a header in JSON, then bytes.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::region::{Definition, Version};

/// Longest header and longest payload that are taken for one, in bytes.
const LIMIT: usize = 64 << 20;

/// An upstairs as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Nil for every NBD server: they are one and the same to a downstairs.
    pub upstairs_id: Uuid,
    /// Of one run of the server.
    pub session_id: Uuid,
    /// The number that orders its owners.
    pub generation: u64,
    /// Tells keys apart without being one; `None` where the data is not encrypted.
    pub key: Option<u64>,
}

/// From the server to a downstairs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First on every connection.
    Hello(Identity),
    /// Become the one that writes; whoever was it is fenced.
    Promote,
    /// What the region is and how far it was flushed.
    Describe,
    /// `length` bytes at `offset`: whole blocks.
    Read {
        /// In bytes.
        offset: u64,
        /// In bytes.
        length: usize,
    },
    /// The payload at `offset`: whole blocks.
    Write {
        /// In bytes.
        offset: u64,
    },
    /// Make durable what was written.
    Flush {
        /// Of who flushes.
        generation: u64,
        /// Counts its flushes.
        flush: u64,
    },
    /// Where anything was ever written.
    Allocated,
}

/// From a downstairs to the server: one for each request, in their order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// What was read is the payload; for each of its blocks whether it was ever written.
    Read(Vec<bool>),
    /// To [`Request::Describe`].
    Region(Definition, Version),
    /// To [`Request::Allocated`]: (offset, length), in bytes.
    Allocated(Vec<(u64, u64)>),
    /// The downstairs runs read-only or not, unlike the server.
    ReadOnlyMismatch,
    /// The region is encrypted or not, unlike what the server was told.
    EncryptionMismatch,
    /// It could not be done, and why.
    Failed(String),
    /// To no request: a higher generation took over.
    NoLongerActive,
}

/// Send one message.
pub fn send(to: &mut impl Write, header: &impl Serialize, payload: &[u8]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let mut frame = Vec::with_capacity(8 + header.len() + payload.len());
    for length in [header.len(), payload.len()] {
        let length = u32::try_from(length).map_err(io::Error::other)?;
        frame.extend(length.to_be_bytes());
    }
    frame.extend(header);
    frame.extend(payload);
    to.write_all(&frame)
}

/// Receive one message; `UnexpectedEof` where the other side has left.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<(T, Vec<u8>)> {
    let header = length(from)?;
    let payload = length(from)?;
    let header = bytes(from, header)?;
    let payload = bytes(from, payload)?;
    Ok((serde_json::from_slice(&header)?, payload))
}

fn length(from: &mut impl Read) -> io::Result<usize> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    Ok(u32::from_be_bytes(length) as usize)
}

fn bytes(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    if length > LIMIT {
        return Err(io::Error::other(format!(
            "a message of {length} bytes: not the simulator's protocol"
        )));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
