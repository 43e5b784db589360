//! The handshake of an NBD server.
#![no_main]

libfuzzer_sys::fuzz_target!(|sent: &[u8]| hostdev::fuzzing::nbd_handshake(sent));
