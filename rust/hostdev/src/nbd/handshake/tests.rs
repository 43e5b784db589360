#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_millis(300);
const SIZE: u64 = 1 << 20;
const FLAGS: u16 = HAS_FLAGS | SEND_FLUSH;

/// A server for one client, whose behaviour the test gives.
struct Server<T> {
    address: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    fn new(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            thread: thread::spawn(move || serve(listener.accept().unwrap().0)),
        }
    }

    fn negotiate(&self, name: &str) -> Result<(TcpStream, Export), Error> {
        negotiate(self.address, name, LIMIT, Deadline::after(LIMIT))
    }

    fn refusal(&self) -> Error {
        self.negotiate("disk").unwrap_err()
    }
}

fn greet(client: &mut TcpStream, flags: u16) -> u32 {
    client.write_all(b"NBDMAGICIHAVEOPT").unwrap();
    client.write_all(&flags.to_be_bytes()).unwrap();
    let mut flags = [0; 4];
    client.read_exact(&mut flags).unwrap();
    u32::from_be_bytes(flags)
}

/// The option a client sends, and its data.
fn option(client: &mut TcpStream) -> (u32, Vec<u8>) {
    let mut header = [0; 16];
    client.read_exact(&mut header).unwrap();
    assert_eq!(&header[..8], b"IHAVEOPT");
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let mut data = vec![0; word(12) as usize];
    client.read_exact(&mut data).unwrap();
    (word(8), data)
}

fn reply(client: &mut TcpStream, option: u32, kind: u32, data: &[u8]) {
    let mut message = OPTION_REPLY.to_be_bytes().to_vec();
    for word in [option, kind, data.len() as u32] {
        message.extend(word.to_be_bytes());
    }
    message.extend(data);
    client.write_all(&message).unwrap();
}

fn export(size: u64, flags: u16) -> Vec<u8> {
    [&size.to_be_bytes()[..], &flags.to_be_bytes()].concat()
}

fn info_export() -> Vec<u8> {
    [&INFO_EXPORT.to_be_bytes()[..], &export(SIZE, FLAGS)].concat()
}

#[test]
fn a_server_with_option_go_sends_size_flags_and_smallest_request() {
    let server = Server::new(|mut client| {
        assert_eq!(greet(&mut client, 3), 3);
        let (kind, data) = option(&mut client);
        let name = [&4u32.to_be_bytes()[..], b"disk"].concat();
        assert_eq!((kind, data.starts_with(&name)), (OPT_GO, true));
        let unknown = [0, 1, b'x'];
        reply(&mut client, OPT_GO, REP_INFO, &unknown);
        reply(&mut client, OPT_GO, REP_INFO, &info_export());
        let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
        for size in [4096u32, 4096, 1 << 20] {
            sizes.extend(size.to_be_bytes());
        }
        reply(&mut client, OPT_GO, REP_INFO, &sizes);
        reply(&mut client, OPT_GO, REP_ACK, &[]);
        client.write_all(b"first reply").unwrap();
    });
    let (mut stream, found) = server.negotiate("disk").unwrap();
    server.thread.join().unwrap();
    let expected = Export {
        size: SIZE,
        flags: FLAGS,
        least_request: Some(4096),
    };
    assert_eq!(found, expected);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "first reply", "the handshake read too much");
}

#[test]
fn a_server_without_option_go_gets_option_export_name() {
    for (flags, zeroes) in [
        (FIXED_NEWSTYLE | NO_ZEROES, 0),
        (FIXED_NEWSTYLE, ZEROES),
        (0, ZEROES),
    ] {
        let server = Server::new(move |mut client| {
            assert_eq!(greet(&mut client, flags), u32::from(flags));
            if flags & FIXED_NEWSTYLE != 0 {
                assert_eq!(option(&mut client).0, OPT_GO);
                reply(&mut client, OPT_GO, REP_ERR_UNSUP, b"what?");
            }
            assert_eq!(option(&mut client), (OPT_EXPORT_NAME, Vec::new()));
            client.write_all(&export(SIZE, FLAGS)).unwrap();
            client.write_all(&vec![0; zeroes]).unwrap();
            client.write_all(b"first reply").unwrap();
        });
        let (mut stream, found) = server.negotiate("").unwrap();
        server.thread.join().unwrap();
        assert_eq!((found.size, found.least_request), (SIZE, None));
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "first reply", "handshake flags {flags:#x}");
    }
}

#[test]
fn the_kernel_gets_a_stream_without_delays_and_timeouts() {
    let server = Server::new(|mut client| {
        greet(&mut client, 3);
        option(&mut client);
        reply(&mut client, OPT_GO, REP_INFO, &info_export());
        reply(&mut client, OPT_GO, REP_ACK, &[]);
    });
    let (stream, _) = server.negotiate("disk").unwrap();
    server.thread.join().unwrap();
    assert!(stream.nodelay().unwrap());
    assert_eq!(stream.read_timeout().unwrap(), None);
    assert_eq!(stream.write_timeout().unwrap(), None);
}

#[test]
fn a_server_that_sends_nothing_fails_at_the_deadline() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let server = Server::new(move |_client| wait.recv().is_err());
    let started = Instant::now();
    let error = server.refusal();
    assert!(started.elapsed() >= LIMIT && started.elapsed() < LIMIT * 5);
    assert_eq!(error.errno(), 110, "{error}");
    let message = error.to_string();
    assert!(message.contains(&server.address.to_string()), "{message}");
    assert!(message.contains("another client"), "{message}");
    drop(done);
    assert!(server.thread.join().unwrap());
}

#[test]
fn a_server_that_sends_too_slowly_fails_at_the_deadline() {
    let server = Server::new(|mut client| {
        let slow = b"NBDMAGICIHAVEOPT";
        slow.iter().all(|byte| {
            thread::sleep(LIMIT / 4);
            client.write_all(&[*byte]).is_ok()
        })
    });
    let started = Instant::now();
    assert_eq!(server.refusal().errno(), 110);
    assert!(started.elapsed() < LIMIT * 3);
}

#[test]
fn the_error_without_a_server_has_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = negotiate(address, "", LIMIT, Deadline::after(LIMIT)).unwrap_err();
    assert_eq!(error.errno(), 111, "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_program_that_is_no_nbd_server_is_refused() {
    let server = Server::new(|mut client| client.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").unwrap());
    let message = server.refusal().to_string();
    assert!(message.contains("HTTP/1.1"), "{message}");
    assert!(message.contains("Another program"), "{message}");

    let old = Server::new(|mut client| {
        let magic = 0x0000_4202_8186_1253_u64.to_be_bytes();
        client.write_all(&[&b"NBDMAGIC"[..], &magic].concat())
    });
    let message = old.refusal().to_string();
    assert!(message.contains("old protocol"), "{message}");
}

#[test]
fn a_server_that_closes_the_connection_early_is_an_error() {
    let server = Server::new(|mut client| client.write_all(b"NBDMAGICIHAV").unwrap());
    let error = server.refusal();
    assert!(matches!(error, Error::NbdServer { .. }), "{error}");
    server.thread.join().unwrap();
}

#[test]
fn the_error_of_a_missing_export_has_its_name() {
    let closes = Server::new(|mut client| {
        greet(&mut client, 0);
        option(&mut client);
    });
    let replies = Server::new(|mut client| {
        greet(&mut client, 3);
        option(&mut client);
        reply(&mut client, OPT_GO, 0x8000_0006, b"no such disk");
    });
    for server in [closes, replies] {
        let error = server.refusal();
        assert_eq!(error.errno(), 2, "{error}");
        assert!(error.to_string().contains("\"disk\""), "{error}");
    }
}

#[test]
fn the_error_quotes_the_refusal_of_the_server() {
    let server = Server::new(|mut client| {
        greet(&mut client, 3);
        option(&mut client);
        reply(&mut client, OPT_GO, 0x8000_0002, b"not you");
    });
    let error = server.refusal();
    assert_eq!(error.errno(), 13, "{error}");
    assert!(error.to_string().contains("not you"), "{error}");
}

#[test]
fn a_reply_that_is_not_nbd_is_an_error() {
    type Reply = fn(&mut TcpStream);
    let replies: [Reply; 3] = [
        |client| client.write_all(&[0xff; 20]).unwrap(),
        |client| reply(client, OPT_EXPORT_NAME, REP_ACK, &[]),
        |client| {
            reply(client, OPT_GO, REP_ACK, &[]);
        },
    ];
    for send in replies {
        let server = Server::new(move |mut client| {
            greet(&mut client, 3);
            option(&mut client);
            send(&mut client);
            client
        });
        let error = server.refusal();
        assert!(matches!(error, Error::NbdExport { .. }), "{error}");
    }
}

#[test]
fn a_server_that_sends_invalid_flags_is_refused() {
    let server = Server::new(|mut client| {
        greet(&mut client, 2);
        option(&mut client);
        client.write_all(&export(SIZE, 0)).unwrap();
    });
    assert!(matches!(server.refusal(), Error::NbdExport { .. }));
}
