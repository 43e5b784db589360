//! Keys in base64: cephx keys, and keys of encrypted volumes.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    hostdev::fuzzing::cephx_key(text);
    crucible_host::fuzzing::volume_key(text);
});
