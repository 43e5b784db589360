//! Datagrams of generic netlink.
#![no_main]

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| hostdev::fuzzing::netlink(datagram));
