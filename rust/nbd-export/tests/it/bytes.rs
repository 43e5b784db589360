//! Clients that write the protocol by hand, and some that do not follow it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use nbd_export::protocol::{
    command, option, reply, OPTION_MAGIC, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC,
};

use crate::lab::{run, Lab, MIB};

impl Lab {
    /// Connects, and sends a greeting.
    pub fn greeted(&self) -> TcpStream {
        let mut client = self.connect();
        let mut greeting = [0; 18];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..8], b"NBDMAGIC");
        client.write_all(&3_u32.to_be_bytes()).unwrap();
        client
    }

    /// Uses an export in the old way, and keeps it until the end of the connection.
    pub fn hold(&self, name: &str) -> TcpStream {
        let mut client = self.greeted();
        send_option(&mut client, option::EXPORT_NAME, name.as_bytes());
        let mut chosen = [0; 10];
        client.read_exact(&mut chosen).unwrap();
        client
    }

    pub fn use_export(&self, name: &str) -> User {
        User(self.hold(name))
    }
}

/// A client with one request at a time.
pub struct User(TcpStream);

impl User {
    pub fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, u32> {
        self.request(command::READ, offset, length, &[])?;
        let mut data = vec![0; length as usize];
        self.0.read_exact(&mut data).unwrap();
        Ok(data)
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        self.try_write(offset, data).unwrap();
    }

    pub fn try_write(&mut self, offset: u64, data: &[u8]) -> Result<(), u32> {
        self.request(command::WRITE, offset, data.len() as u32, data)
    }

    /// Whether the server has ended the connection, perhaps after replies.
    pub fn ends(self) -> bool {
        ends(self.0)
    }

    pub fn is_ended(&mut self) -> bool {
        self.0.read(&mut [0]).map_or(true, |read| read == 0)
    }

    /// Sends a request, and reads no reply.
    pub fn send(&mut self, command: u16, offset: u64, length: u32, data: &[u8]) {
        let message = [
            &REQUEST_MAGIC.to_be_bytes()[..],
            &[0, 0],
            &command.to_be_bytes(),
            &7_u64.to_be_bytes(),
            &offset.to_be_bytes(),
            &length.to_be_bytes(),
            data,
        ];
        self.0.write_all(&message.concat()).unwrap();
    }

    fn request(&mut self, command: u16, offset: u64, length: u32, data: &[u8]) -> Result<(), u32> {
        self.send(command, offset, length, data);
        let mut reply = [0; 16];
        self.0.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], SIMPLE_REPLY_MAGIC.to_be_bytes());
        assert_eq!(reply[8..], 7_u64.to_be_bytes());
        match u32::from_be_bytes(reply[4..8].try_into().unwrap()) {
            0 => Ok(()),
            error => Err(error),
        }
    }
}

pub fn send_option(client: &mut TcpStream, number: u32, data: &[u8]) {
    let length = data.len() as u32;
    let message = [
        &OPTION_MAGIC.to_be_bytes()[..],
        &number.to_be_bytes(),
        &length.to_be_bytes(),
        data,
    ];
    client.write_all(&message.concat()).unwrap();
}

fn reply_of(client: &mut TcpStream) -> u32 {
    let mut header = [0; 20];
    client.read_exact(&mut header).unwrap();
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let mut data = vec![0; number(16) as usize];
    client.read_exact(&mut data).unwrap();
    number(12)
}

/// Whether the server has ended the connection, perhaps after an error.
pub fn ends(mut client: TcpStream) -> bool {
    let mut rest = Vec::new();
    match client.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    let garbage = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let mut client = lab.connect();
    client.write_all(garbage).unwrap();
    assert!(ends(client));
    let mut client = lab.greeted();
    client.write_all(garbage).unwrap();
    assert!(ends(client));
    let mut client = lab.hold("vm/0");
    client.write_all(garbage).unwrap();
    assert!(ends(client));
    run("nbdinfo", &["--list", "--no-content", &lab.uri("")]);
}

#[test]
fn an_option_of_a_huge_length_is_refused_before_its_data() {
    let lab = Lab::new();
    let mut client = lab.greeted();
    let message = [
        &OPTION_MAGIC.to_be_bytes()[..],
        &option::GO.to_be_bytes(),
        &u32::MAX.to_be_bytes(),
    ];
    client.write_all(&message.concat()).unwrap();
    assert_eq!(reply_of(&mut client), reply::ERR_TOO_BIG);
    assert!(ends(client));
}

#[test]
fn malformed_and_unknown_options_are_refused_and_the_handshake_goes_on() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    let mut client = lab.greeted();
    for (number, data, wanted) in [
        (99, &b"x"[..], reply::ERR_UNSUP),
        (option::GO, b"x", reply::ERR_INVALID),
        (option::GO, b"\xff\xff\xff\xffvm/0", reply::ERR_INVALID),
        (option::INFO, b"\0\0\0\x01a\0\0", reply::ERR_UNKNOWN),
        (option::LIST, b"x", reply::ERR_INVALID),
        (option::STARTTLS, b"", reply::ERR_POLICY),
        (
            option::SET_META_CONTEXT,
            b"\0\0\0\x04vm/0\0\0\0\0",
            reply::ERR_INVALID,
        ),
        (option::STRUCTURED_REPLY, b"", reply::ACK),
        (
            option::SET_META_CONTEXT,
            b"\0\0\0\x04vm/0\0\0\0\0",
            reply::ACK,
        ),
        (option::ABORT, b"", reply::ACK),
    ] {
        send_option(&mut client, number, data);
        assert_eq!(reply_of(&mut client), wanted, "{number}");
    }
    assert!(ends(client));
}

#[test]
fn a_write_above_the_limit_ends_the_connection_with_an_error() {
    let lab = Lab::new();
    lab.export("vm/0", 64 * MIB);
    let mut client = lab.use_export("vm/0");
    let refused = client.request(command::WRITE, 0, 33 * MIB as u32, &[]);
    assert_eq!(refused, Err(22));
    assert!(ends(client.0));
}

#[test]
fn requests_beyond_the_end_fail_and_the_connection_stays() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    let mut client = lab.use_export("vm/0");
    let end = MIB as u64;
    assert_eq!(client.try_write(end - 1, &[1, 2]), Err(28));
    assert_eq!(client.try_write(u64::MAX, &[1, 2]), Err(28));
    assert_eq!(client.read(end, 1), Err(22));
    assert_eq!(client.read(0, 0), Err(22));
    client.write(end - 2, &[1, 2]);
    assert_eq!(client.read(end - 2, 2).unwrap(), [1, 2]);
}

#[test]
fn connections_above_the_limit_are_refused_and_later_ones_served() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    let held: Vec<_> = (0..64).map(|_| lab.greeted()).collect();
    assert!(ends(lab.connect()));
    drop(held);
    crate::lab::wait_for("the server has room again", || {
        let mut client = lab.connect();
        matches!(client.read(&mut [0; 18]), Ok(18))
    });
    run("nbdinfo", &[&lab.uri("vm/0")]);
}
