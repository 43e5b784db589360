//! Properties of every device-config, tested with random keys and values.

use std::path::Path;

use proptest::prelude::*;
use sr_ceph::device_config::{DeviceConfig, VALID_KEYS};

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&VALID_KEYS[..]).prop_map(str::to_owned),
        1 => prop::sample::select(&["SRmaster", "key", "secret"][..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// Values so similar to valid ones that some are accepted.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,12}",
        "(/|[a-z.]{0,3}){0,6}",
        "[a-z0-9:.,\\[\\]/-]{0,20}",
        "client[.][ -~]{0,6}",
    ]
}

proptest! {
    #[test]
    fn no_device_config_makes_the_parser_panic(
        pairs in prop::collection::vec((any_key(), any_value()), 0..6)
    ) {
        match DeviceConfig::parse(pairs) {
            Ok(config) => prop_assert!(!config.user().is_empty()),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }

    #[test]
    fn an_accepted_value_has_no_separator(
        key in prop::sample::select(&["pool", "user", "conf", "keyring", "mon_host"][..]),
        value in any_value()
    ) {
        let Ok(config) = DeviceConfig::parse([(key.to_owned(), value)]) else {
            return Ok(());
        };
        let words = [
            config.pool().unwrap_or_default(),
            config.user(),
            config.ceph_conf().and_then(Path::to_str).unwrap_or_default(),
            config.keyring().map_or("", |path| path.to_str().unwrap()),
        ];
        let separator = |c: char| c.is_whitespace() || c.is_control() || ",;=@'\"\\$`&|<>()".contains(c);
        for word in words {
            prop_assert!(!word.starts_with('-'));
            prop_assert!(!word.chars().any(|c| separator(c) && !(c == '@' && word.starts_with('/'))));
        }
        for path in [config.ceph_conf(), config.keyring()].into_iter().flatten() {
            prop_assert!(path.is_absolute());
            prop_assert!(!path.components().any(|part| part.as_os_str() == ".."));
        }
        let monitors = config.mon_host().unwrap_or_default();
        prop_assert!(!monitors.contains(|c: char| separator(c) && c != ','));
    }

    #[test]
    fn a_secret_never_shows_in_the_error(
        key in prop::sample::select(&["key", "secret", "ceph_key", "keyring", "unheard_of"][..]),
        secret in "[A-Za-z0-9+/]{22,64}={0,2}"
    ) {
        // Accepted as a keyring's path only if it happens to be one.
        if let Err(error) = DeviceConfig::parse([(key.to_owned(), secret.clone())]) {
            let texts = format!("{error} {error:?}");
            prop_assert!(!texts.contains(&secret));
        }
    }
}
