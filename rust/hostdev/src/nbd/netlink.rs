//! The kernel's NBD client over generic netlink.
//!
//! The kernel carries out a request before `send` returns, and puts the reply into the socket. So a call
//! blocks in `send` only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlasIterator, NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST,
};
use nix::errno::Errno;
use nix::sys::socket::{
    recv, send, socket, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType,
};

use crate::Error;

/// The family that has the ids of the others: `linux/genetlink.h`.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Commands and attributes of the family `nbd`: `linux/nbd-netlink.h`.
const FAMILY: &[u8] = b"nbd\0";
const CONNECT: u8 = 1;
const DISCONNECT: u8 = 2;
const INDEX: u16 = 1;
const SIZE_BYTES: u16 = 2;
const BLOCK_SIZE_BYTES: u16 = 3;
const TIMEOUT: u16 = 4;
const SERVER_FLAGS: u16 = 5;
const SOCKETS: u16 = 7;
const DEAD_CONN_TIMEOUT: u16 = 8;
const BACKEND_IDENTIFIER: u16 = 10;
const SOCK_ITEM: u16 = 1;
const SOCK_FD: u16 = 1;

const VERSION: u8 = 1;
const HEADER: usize = 4;
/// Longer than any reply.
const REPLY: usize = 16 << 10;

/// A device to connect.
pub(super) struct Connect<'a> {
    /// The N of `/dev/nbdN`. The kernel creates the device if there is none.
    pub index: u32,
    /// The connection to the server. The kernel keeps it when this process has ended.
    pub socket: RawFd,
    /// Bytes.
    pub size: u64,
    /// The smallest request of the disk, in bytes.
    pub block_size: u32,
    /// The flags of the handshake.
    pub flags: u16,
    /// The time without a reply after which the kernel ends the connection.
    pub timeout: Duration,
    /// The text of `backend` in sysfs. Linux before 5.14 ignores it.
    pub backend: &'a str,
}

/// A socket to the kernel, and the id of the family `nbd` in this boot.
pub(super) struct Netlink {
    socket: OwnedFd,
    family: u16,
}

impl Netlink {
    /// # Errors
    /// [`Error::NbdKernel`] with `ENOENT` if the kernel has no such family.
    pub(super) fn open() -> Result<Self, Error> {
        Self::open_family().map_err(|source| Error::NbdKernel {
            action: "connect NBD devices over netlink".to_owned(),
            source,
            advice: "this needs Linux 4.12 or later and the module nbd: `modprobe nbd`, then see `dmesg`",
        })
    }

    fn open_family() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        )?;
        let mut netlink = Self {
            socket,
            family: CONTROLLER,
        };
        let name = DefaultNla::new(FAMILY_NAME, FAMILY.to_vec());
        let reply = netlink.call(GET_FAMILY, vec![name])?;
        let id = reply.iter().find(|(kind, _)| *kind == FAMILY_ID);
        let id = id.and_then(|(_, value)| value.as_slice().try_into().ok());
        netlink.family =
            u16::from_ne_bytes(id.ok_or_else(|| io::Error::other("the reply has no family id"))?);
        Ok(netlink)
    }

    /// # Errors
    /// `EBUSY` if the device is connected, or open.
    pub(super) fn connect(&self, request: &Connect<'_>) -> io::Result<()> {
        let file = u32::try_from(request.socket).map_err(io::Error::other)?;
        let item = nested(SOCK_ITEM, &[u32_attribute(SOCK_FD, file)]);
        let mut backend = request.backend.as_bytes().to_vec();
        backend.push(0);
        self.call(
            CONNECT,
            vec![
                u32_attribute(INDEX, request.index),
                u64_attribute(SIZE_BYTES, request.size),
                u64_attribute(BLOCK_SIZE_BYTES, request.block_size.into()),
                u64_attribute(TIMEOUT, request.timeout.as_secs()),
                // Never reconnect: a restarted server may have lost acknowledged data.
                u64_attribute(DEAD_CONN_TIMEOUT, 0),
                u64_attribute(SERVER_FLAGS, request.flags.into()),
                nested(SOCKETS, &[item]),
                DefaultNla::new(BACKEND_IDENTIFIER, backend),
            ],
        )?;
        Ok(())
    }

    /// Disconnects a device, also an open one. Succeeds if it is not connected.
    pub(super) fn disconnect(&self, index: u32) -> io::Result<()> {
        self.call(DISCONNECT, vec![u32_attribute(INDEX, index)])?;
        Ok(())
    }

    fn call(&self, command: u8, attributes: Vec<DefaultNla>) -> io::Result<Vec<Attribute>> {
        let mut message = NetlinkMessage::new(
            NetlinkHeader::default(),
            NetlinkPayload::InnerMessage(Request {
                family: self.family,
                command,
                attributes,
            }),
        );
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        self.reply()
    }

    /// Returns all attributes up to the acknowledgement.
    fn reply(&self) -> io::Result<Vec<Attribute>> {
        let mut attributes = Vec::new();
        let mut buffer = vec![0; REPLY];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            if read_messages(&buffer[..length], &mut attributes)? {
                return Ok(attributes);
            }
        }
    }
}

/// Adds the attributes of the messages in one datagram. Returns whether one of them is the acknowledgement
/// of a success.
pub(crate) fn read_messages(datagram: &[u8], attributes: &mut Vec<Attribute>) -> io::Result<bool> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<Reply>::deserialize(rest)
            .map_err(|error| io::Error::other(error.to_string()))?;
        match message.payload {
            NetlinkPayload::Error(end) if end.code.is_none() => return Ok(true),
            NetlinkPayload::Error(end) => return Err(refusal(end.raw_code())),
            NetlinkPayload::InnerMessage(Reply(more)) => attributes.extend(more),
            _ => {}
        }
        // The message was deserialized, so its length is within the rest.
        let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Returns the error of a negative errno. `ErrorMessage::to_io` panics at `i32::MIN`.
fn refusal(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code.saturating_neg())
}

/// Returns whether the error means that another index may be free.
pub(super) fn is_taken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EBUSY as i32)
}

/// Kind and value.
pub(crate) type Attribute = (u16, Vec<u8>);

struct Request {
    family: u16,
    command: u8,
    attributes: Vec<DefaultNla>,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(HEADER);
        header.copy_from_slice(&[self.command, VERSION, 0, 0]);
        self.attributes.as_slice().emit(attributes);
    }
}

#[derive(Debug)]
struct Reply(Vec<Attribute>);

impl NetlinkDeserializable for Reply {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        NlasIterator::new(payload.get(HEADER..).unwrap_or_default())
            .map(|attribute| attribute.map(|found| (found.kind(), found.value().to_vec())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn u32_attribute(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

fn u64_attribute(kind: u16, value: u64) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A datagram with one message: an acknowledgement or an error.
    fn end_message(code: i32) -> Vec<u8> {
        let mut datagram = 36_u32.to_ne_bytes().to_vec(); // length
        datagram.extend(2_u16.to_ne_bytes()); // NLMSG_ERROR
        datagram.extend([0; 10]); // flags, sequence, port
        datagram.extend(code.to_ne_bytes());
        datagram.extend([0; 16]); // the header of the request
        datagram
    }

    #[test]
    fn an_end_message_is_a_success_or_an_errno() {
        let read = |code| read_messages(&end_message(code), &mut Vec::new());
        assert!(read(0).unwrap());
        assert!(is_taken(&read(-(Errno::EBUSY as i32)).unwrap_err()));
    }

    #[test]
    fn an_end_message_with_an_invalid_errno_is_an_error() {
        for code in [i32::MIN, i32::MAX] {
            assert!(read_messages(&end_message(code), &mut Vec::new()).is_err());
        }
    }
}
