//! The claims and records of a Crucible volume in the VDI's `sm_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    sr_crucible::fuzzing::sm_config(&pairs.collect());
});
