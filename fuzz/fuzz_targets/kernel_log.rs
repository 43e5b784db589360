//! Records of `/dev/kmsg`.
#![no_main]

libfuzzer_sys::fuzz_target!(|records: &str| hostdev::fuzzing::kernel_log(records));
