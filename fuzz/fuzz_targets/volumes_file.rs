//! A file that declares Crucible volumes.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| crucible::fuzzing::volumes_file(text));
