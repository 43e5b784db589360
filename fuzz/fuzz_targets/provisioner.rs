//! The output of a provisioner.
#![no_main]

libfuzzer_sys::fuzz_target!(|reply: &[u8]| crucible_host::fuzzing::provisioner(reply));
