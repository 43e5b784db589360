//! `/info` of a Crucible server and `/region-info` of a storage server.
#![no_main]

libfuzzer_sys::fuzz_target!(|reply: &[u8]| crucible_host::fuzzing::status(reply));
