//! A file that declares Crucible volumes.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| crucible_host::fuzzing::volumes_file(text));
