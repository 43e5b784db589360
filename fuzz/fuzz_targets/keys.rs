//! Keys in base64: those of cephx and those of encrypted volumes.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    hostdev::fuzzing::cephx_key(text);
    crucible_host::fuzzing::volume_key(text);
});
