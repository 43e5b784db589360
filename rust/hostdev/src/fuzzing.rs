//! Entry points of `make fuzz`: each gives bytes to a parser of data from the kernel or a server. None may
//! panic.

use std::io::{self, Read, Write};
use std::time::Duration;

use hostos::Deadline;
use secrecy::SecretString;

use crate::features::ImageFeatures;
use crate::krbd;
use crate::nbd::fuzzing::{read_messages, Stream, Wire, HAS_FLAGS};

/// A list of image features. If it is valid, its text is read as the same set.
pub fn image_features(text: &str) {
    if let Ok(set) = text.parse::<ImageFeatures>() {
        assert_eq!(set.to_string().parse().ok(), Some(set), "{text:?}");
    }
}

/// A cephx key in base64.
pub fn cephx_key(text: &str) {
    if let Ok(bytes) = krbd::fuzzing::decode("fuzzing", &SecretString::from(text)) {
        assert!(!bytes.is_empty());
    }
}

/// Records of `/dev/kmsg` after the kernel refused a map.
pub fn kernel_log(records: &str) {
    krbd::fuzzing::relevant(records);
}

/// The bytes that an NBD server sends during the handshake.
pub fn nbd_handshake(sent: &[u8]) {
    let mut wire = Wire {
        stream: Script(sent),
        end: Deadline::after(Duration::from_secs(60)),
    };
    if let Ok(export) = wire.negotiate("fuzzing") {
        assert!(export.flags & HAS_FLAGS != 0);
    }
}

/// A datagram from the kernel.
pub fn netlink(datagram: &[u8]) {
    let mut attributes = Vec::new();
    let _ = read_messages(datagram, &mut attributes);
}

/// A server that sends these bytes for every input.
struct Script<'a>(&'a [u8]);

impl Read for Script<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Script<'_> {
    fn limit(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}
