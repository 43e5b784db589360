//! Entry points of `make fuzz`: each gives bytes of a client to a parser. None may panic.

use std::io::{self, Read, Write};
use std::time::Duration;

use hostos::Deadline;

use crate::channel::Talk;
use crate::handshake::{greet, Encryption, Handshake, Outcome};
use crate::offer::{Description, Exports, Refused};
use crate::request::{Request, HEADER};

/// The bytes that a client sends: a greeting, options, then requests.
pub fn client(sent: &[u8]) {
    let end = Deadline::after(Duration::from_secs(60));
    let mut client = Script {
        sent,
        received: Vec::new(),
    };
    let Ok(no_zeroes) = greet(&mut client, end) else {
        return;
    };
    let mut encryption = Encryption::Required;
    loop {
        match Handshake::new(&OneExport, encryption, no_zeroes, end).run(&mut client) {
            Ok(Outcome::StartTls) => encryption = Encryption::Active,
            Ok(Outcome::Chosen(chosen)) => {
                assert!(chosen.structured || !chosen.allocation);
                break;
            }
            _ => return,
        }
    }
    let mut header = [0; HEADER];
    while client.read_exact(&mut header).is_ok() {
        let Some(request) = Request::parse(&header) else {
            return;
        };
        if request.check(SIZE, false, true).is_ok() {
            assert!(request.offset + u64::from(request.length) <= SIZE);
        }
    }
}

const SIZE: u64 = 1 << 20;

struct OneExport;

impl Exports for OneExport {
    type Session = ();

    fn names(&self) -> Vec<String> {
        vec!["vm/0".to_owned()]
    }

    fn describe(&self, name: &str) -> Result<Description, Refused> {
        if name != "vm/0" {
            return Err(Refused {
                is_unknown: true,
                text: name.to_owned(),
            });
        }
        Ok(Description {
            size: SIZE,
            block: 512,
            read_only: false,
        })
    }

    fn open(&self, name: &str) -> Result<(Description, ()), Refused> {
        self.describe(name).map(|found| (found, ()))
    }
}

/// A client that sends these bytes, and ignores the replies.
struct Script<'a> {
    sent: &'a [u8],
    received: Vec<u8>,
}

impl Read for Script<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.sent.read(buffer)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.received.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Talk for Script<'_> {
    fn until(&mut self, _: Deadline) -> io::Result<()> {
        Ok(())
    }
}
