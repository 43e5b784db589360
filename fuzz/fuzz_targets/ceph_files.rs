//! Ceph's configuration files and keyrings.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| librbd::fuzzing::ceph_files(text));
