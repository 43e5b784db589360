//! The protocol between the simulator's two programs: a header in JSON, then bytes.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::region::{Definition, Version};

/// The limits of a header and of a payload, in bytes.
const LIMIT: usize = 64 << 20;

/// The introduction of an upstairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Nil for every NBD server: a downstairs cannot distinguish them by it.
    pub upstairs_id: Uuid,
    /// Of one run of the server.
    pub session_id: Uuid,
    /// The generation.
    pub generation: u64,
    /// Identifies the key; `None` without encryption.
    pub key: Option<u64>,
}

/// From the server to a downstairs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First on every connection.
    Hello(Identity),
    /// Become the writer; the previous one is fenced.
    Promote,
    /// The region's definition and its last flush.
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
    /// Make all writes durable.
    Flush {
        /// The generation of the server.
        generation: u64,
        /// The number of the flush.
        flush: u64,
    },
    /// The written ranges.
    Allocated,
}

/// From a downstairs to the server: one for each request, in their order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// The payload is the data; for each of its blocks whether it was ever written.
    Read(Vec<bool>),
    /// To [`Request::Describe`].
    Region(Definition, Version),
    /// To [`Request::Allocated`]: (offset, length), in bytes.
    Allocated(Vec<(u64, u64)>),
    /// The downstairs is read-only.
    ReadOnlyMismatch,
    /// The region is encrypted and the server has no key, or the reverse.
    EncryptionMismatch,
    /// The request failed: the reason.
    Failed(String),
    /// Without a request: a higher generation has taken the volume.
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

/// Receive one message; `UnexpectedEof` if the other side has disconnected.
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
