//! Which device-configs are accepted, and the errors for the others.

mod layout;
mod properties;

use std::path::Path;

use hostdev::MsMode;
use sr::device_config::Datapath;
use sr_ceph::device_config::{ConfigError, DeviceConfig, VALID_KEYS};
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::image_format::Layout;

fn parse(pairs: &[(&str, &str)]) -> Result<DeviceConfig, ConfigError> {
    DeviceConfig::parse(
        pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned())),
    )
}

fn refusal(pairs: &[(&str, &str)]) -> ConfigError {
    parse(pairs).expect_err("this device-config should be refused")
}

#[test]
fn a_pool_is_the_only_required_key() {
    let config = parse(&[("pool", "vms")]).unwrap();
    assert_eq!(config.require_pool(), Ok("vms"));
    assert_eq!(
        config.ceph_conf().and_then(Path::to_str),
        Some("/etc/ceph/ceph.conf")
    );
    assert_eq!(config.namespace(), "");
    assert_eq!(config.image_format().layout, Layout::DEFAULT);
    assert_eq!(config.user(), "admin");
    assert_eq!(config.keyring(), None);
    assert_eq!(config.mon_host(), None);
    assert_eq!(config.datapath(), Datapath::Aio);
    assert_eq!(
        config.image_features().to_string(),
        "layering,exclusive-lock"
    );
    assert_eq!(config.ms_mode(), None);
}

#[test]
fn every_key_that_is_given_is_used() {
    let config = parse(&[
        ("pool", "vms"),
        ("namespace", "tenant-a"),
        ("ceph_conf", "/etc/ceph/backup.conf"),
        ("ceph_user", "smblock"),
        ("keyring", "/etc/ceph/backup.client.smblock.keyring"),
        ("mon_host", "10.0.0.1,10.0.0.2:6789"),
        ("datapath", "phy"),
        (
            "image_features",
            "layering,exclusive-lock,object-map,fast-diff",
        ),
        ("ms_mode", "secure"),
        ("SRmaster", "true"),
    ])
    .unwrap();
    assert_eq!(
        config.ceph_conf().and_then(Path::to_str),
        Some("/etc/ceph/backup.conf")
    );
    assert_eq!(config.namespace(), "tenant-a");
    assert_eq!(config.user(), "smblock");
    assert_eq!(
        config.keyring().unwrap().to_str(),
        Some("/etc/ceph/backup.client.smblock.keyring")
    );
    assert_eq!(config.mon_host(), Some("10.0.0.1,10.0.0.2:6789"));
    assert_eq!(config.datapath(), Datapath::Phy);
    assert_eq!(config.image_features().bits(), 0b1_1101);
    assert_eq!(config.ms_mode(), Some(MsMode::Secure));
}

#[test]
fn a_missing_pool_is_reported_with_what_to_type() {
    let error = parse(&[]).unwrap().require_pool().unwrap_err();
    assert_eq!(error.id(), "SMB-D001");
    assert!(error.to_string().contains("device-config:pool=NAME"));
}

#[test]
fn an_unknown_key_is_refused_with_the_list_of_valid_keys() {
    let error = refusal(&[("pool", "vms"), ("Pool", "other"), ("prefix", "x")]);
    assert_eq!(error.id(), "SMB-D002");
    let text = error.to_string();
    assert!(text.contains("'Pool'"), "{text}");
    for key in VALID_KEYS {
        assert!(text.contains(key), "{key} is not in: {text}");
    }
}

#[test]
fn formats_of_disks_are_refused_with_the_reason() {
    let error = refusal(&[("pool", "vms"), ("preferred-image-formats", "qcow2")]);
    assert_eq!(error.id(), "SMB-D005");
    let text = error.to_string();
    assert!(text.contains("leave the key out"), "{text}");
}

#[test]
fn the_short_names_of_keys_mean_the_same() {
    let config = parse(&[("conf", "/a/b.conf"), ("user", "u")]).unwrap();
    assert_eq!(config.ceph_conf().and_then(Path::to_str), Some("/a/b.conf"));
    assert_eq!(config.user(), "u");
}

#[test]
fn two_names_of_one_setting_must_have_one_value() {
    assert!(parse(&[("user", "u"), ("ceph_user", "u")]).is_ok());
    let text = refusal(&[("user", "u"), ("ceph_user", "v")]).to_string();
    assert!(
        text.contains("device-config:user and device-config:ceph_user"),
        "{text}"
    );
}

#[test]
fn a_user_may_be_written_as_ceph_prints_it() {
    assert_eq!(parse(&[("user", "client.x")]).unwrap().user(), "x");
    assert_eq!(
        parse(&[("user", "client.client.x")]).unwrap().user(),
        "client.x"
    );
    refusal(&[("user", "client.")]);
}

#[test]
fn a_secret_is_refused_with_the_advice_to_use_a_keyring() {
    for key in ["key", "secret", "ceph_key", "Password", "auth_token"] {
        let text = refusal(&[("pool", "vms"), (key, "AQBsecret==")]).to_string();
        assert!(text.contains("device-config:keyring=PATH"), "{text}");
        assert!(!text.contains("AQBsecret"), "{text}");
    }
}

#[test]
fn a_secret_in_a_wrong_key_is_not_printed() {
    for place in ["keyring", "ceph_user", "pool", "mon_host", "conf"] {
        let text = refusal(&[(place, "AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jTQ==")]).to_string();
        assert!(!text.contains("AQDcyUFl"), "{text}");
    }
    let text = refusal(&[("keyring", "AQDcyUFl")]).to_string();
    assert!(!text.contains("AQDcyUFl"), "{text}");
}

#[test]
fn a_namespace_has_only_characters_that_caps_can_name() {
    for name in ["a", "tenant-1", "a.b_C"] {
        assert_eq!(parse(&[("namespace", name)]).unwrap().namespace(), name);
    }
    for name in ["", "a/b", "a b", "a,b", "a=b", "a*", "ä", "-a", "a'", "a@b"] {
        let text = refusal(&[("namespace", name)]).to_string();
        assert!(text.contains("device-config:namespace"), "{text}");
    }
}

#[test]
fn a_pool_name_has_no_character_with_a_meaning_for_kernel_or_shell() {
    for pool in [
        "",
        "a b",
        "a/b",
        "a@b",
        "a,b",
        "a=b",
        "-p",
        "a\nb",
        "a\0",
        "a'b",
        "a\"b",
        "a;b",
        "$(x)",
        "a\\b",
        "a\u{202e}b",
    ] {
        refusal(&[("pool", pool)]);
    }
    refusal(&[("pool", &"x".repeat(256))]);
    for pool in ["rbd", "vm-disks_1.ssd", ".mgr", "Größe", "a:b"] {
        assert_eq!(parse(&[("pool", pool)]).unwrap().pool(), Some(pool));
    }
}

#[test]
fn a_user_name_cannot_contain_kernel_options() {
    for user in [
        "",
        "a,secret=b",
        "a b",
        "-n",
        "client.-n",
        "a=b",
        "a/b",
        "ü",
    ] {
        refusal(&[("user", user)]);
    }
}

#[test]
fn a_path_is_absolute_and_canonical() {
    for path in [
        "",
        "ceph.conf",
        "/etc/../root/x",
        "/etc/./x",
        "/etc//x",
        "/etc/ceph/",
        "/",
        "//x",
        "/a,/b",
        "/a:/b",
        "/a;/b",
        "/a b",
        "/etc/$cluster.conf",
        "~/x",
        "-c",
        "/a\n",
        "/dev/zero",
        "/proc/kmsg",
        "/sys/bus",
    ] {
        refusal(&[("conf", path)]);
        refusal(&[("keyring", path)]);
    }
    for path in ["/x", "/etc/ceph/a.b-c_d.conf", "/devices/x", "/a/..b/c"] {
        assert!(
            parse(&[("conf", path), ("keyring", path)]).is_ok(),
            "{path}"
        );
    }
}

#[test]
fn monitors_are_written_as_ceph_writes_them() {
    for monitors in [
        "10.0.0.1",
        "10.0.0.1:6789",
        "10.0.0.1,10.0.0.2:6789,mon3.example.org",
        "v1:10.0.0.1:6789",
        "[v1:127.1.0.1:17500]",
        "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],[v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0]",
        "fd00::1",
        "[fd00::1]:6789",
        "[v2:[fd00::1]:3300]",
    ] {
        let config = parse(&[("mon_host", monitors)]).unwrap();
        assert_eq!(config.mon_host(), Some(monitors));
    }
    for monitors in [
        "",
        ",",
        "10.0.0.1,",
        "10.0.0.1 10.0.0.2",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:x",
        "10.0.0.1/x",
        "[10.0.0.1",
        "10.0.0.1]",
        "[]",
        "[[10.0.0.1]]",
        "v3:10.0.0.1:6789",
        "-mon",
        "a..b",
        "name=x",
    ] {
        refusal(&[("mon_host", monitors)]);
    }
}

#[test]
fn features_are_names_that_work_together() {
    for (names, advice) in [
        ("", "choose from"),
        ("layering,", "choose from"),
        ("61", "choose from"),
        ("layering,exclusive_lock", "choose from"),
        ("layering,data-pool", "choose from"),
        ("exclusive-lock", "add it"),
        ("layering,object-map", "'object-map' needs 'exclusive-lock'"),
        (
            "layering,exclusive-lock,fast-diff",
            "'fast-diff' needs 'object-map'",
        ),
        ("layering,journaling", "'journaling' needs 'exclusive-lock'"),
    ] {
        let text = refusal(&[("image_features", names)]).to_string();
        assert!(text.contains(advice), "{names}: {text}");
    }
}

#[test]
fn features_without_a_name_are_still_shown() {
    let features = ImageFeatures::from_bits(1 | 1 << 6 | 1 << 40);
    assert_eq!(features.to_string(), "layering,journaling,0x10000000000");
    let kernel_4_19 = ImageFeatures::from_bits(0x87);
    assert_eq!(
        features.minus(kernel_4_19).to_string(),
        "journaling,0x10000000000"
    );
    assert!(ImageFeatures::DEFAULT.minus(kernel_4_19).is_empty());
}

#[test]
fn a_datapath_is_aio_or_phy() {
    for datapath in ["", "AIO", "raw", "tapdisk"] {
        let text = refusal(&[("datapath", datapath)]).to_string();
        assert!(text.contains("choose aio"), "{text}");
    }
}

#[test]
fn an_ms_mode_is_one_that_the_kernel_has() {
    for mode in MsMode::ALL {
        let config = parse(&[("ms_mode", mode.name())]).unwrap();
        assert_eq!(config.ms_mode(), Some(mode));
    }
    for mode in ["", "v2", "Secure", "secure,ro", "prefer_crc", "crc "] {
        let text = refusal(&[("ms_mode", mode)]).to_string();
        let names = "choose one of legacy, crc, secure, prefer-crc, prefer-secure";
        assert!(text.contains(names), "{text}");
    }
}

#[test]
fn bad_characters_have_the_error_that_sm_has_for_them() {
    assert_eq!(refusal(&[("pool", "a b")]).id(), "SMB-D012");
    assert_eq!(refusal(&[("pool", "-a")]).id(), "SMB-D013");
}

#[test]
fn an_error_is_one_short_line_for_any_input() {
    let long = "\u{7}\n\u{fffe}🦀".repeat(16 * 1024);
    for pairs in [
        [("pool", long.as_str())],
        [(long.as_str(), "x")],
        [("datapath", long.as_str())],
    ] {
        let text = refusal(&pairs).to_string();
        assert!(text.chars().count() < 1024, "{text}");
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{fffe}'));
    }
}

#[test]
fn a_data_path_that_sm_does_not_have_is_refused_with_those_it_has() {
    let served = ["aio".to_owned()];
    let phy = parse(&[("pool", "vms"), ("datapath", "phy")]).unwrap();
    let refused = phy.datapath().require(&served).unwrap_err();
    assert_eq!(refused.id(), "SMB-D013");
    let text = refused.to_string();
    assert!(text.contains("device-config:datapath='phy'"), "{text}");
    assert!(text.contains("by aio only"), "{text}");
    let both = ["aio".to_owned(), "phy".to_owned()];
    assert_eq!(phy.datapath().require(&both), Ok(()));
    let default = parse(&[("pool", "vms")]).unwrap();
    assert_eq!(default.datapath().require(&served), Ok(()));
}
