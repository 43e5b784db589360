//! The bytes that a client of an export sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|sent: &[u8]| nbd_export::fuzzing::client(sent));
