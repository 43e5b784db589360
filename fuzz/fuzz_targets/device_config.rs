//! The device-config of an SR, of both types. An accepted one has no character that another program reads as
//! a separator, an option or the end of a line.
#![no_main]

use std::collections::BTreeMap;

use sr_ceph::device_config::DeviceConfig;
use sr_crucible::config::Config;

fn is_plain(text: &str) -> bool {
    !text.starts_with('-') && !text.contains(|c: char| c.is_control() || "'\"\\$`;".contains(c))
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let pairs: Vec<_> = pairs.collect();
    match DeviceConfig::parse(pairs.clone()) {
        Ok(config) => {
            assert!(config.pool().is_none_or(is_plain), "{text:?}");
            assert!(is_plain(config.user()), "{text:?}");
            assert!(config.mon_host().is_none_or(is_plain), "{text:?}");
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
    if let Err(error) = Config::parse(pairs.into_iter().collect::<BTreeMap<_, _>>()) {
        let _ = error.to_string();
    }
    hostdev::fuzzing::image_features(text);
});
