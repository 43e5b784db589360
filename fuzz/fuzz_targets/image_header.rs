//! Replies of the class `rbd` about an image's header.
#![no_main]

libfuzzer_sys::fuzz_target!(|reply: &[u8]| librbd::fuzzing::header(reply));
