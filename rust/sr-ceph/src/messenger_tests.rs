#![allow(clippy::unwrap_used)]

use super::*;

const OLD: &str = "4.19.0+1";
const NEW: &str = "6.6.98+2";

fn monitor(name: &str, v1: &[&str], v2: &[&str]) -> Monitor {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    Monitor {
        name: name.to_owned(),
        v1: owned(v1),
        v2: owned(v2),
    }
}

fn both(name: &str, host: &str) -> Monitor {
    let (v1, v2) = (format!("{host}:6789"), format!("{host}:3300"));
    monitor(name, &[&v1], &[&v2])
}

fn choose(monitors: &[Monitor], wanted: Option<MsMode>, release: &str) -> Result<Route, NoRoute> {
    let name = release.to_owned();
    route(monitors, wanted, &KernelRelease { name })
}

fn chosen(
    monitors: &[Monitor],
    wanted: Option<MsMode>,
    release: &str,
) -> (MsMode, Vec<String>, Vec<String>) {
    let route = choose(monitors, wanted, release).unwrap();
    (route.ms_mode, route.addresses, route.unused)
}

#[test]
fn a_new_kernel_speaks_v2_if_every_monitor_does() {
    let monitors = [both("a", "10.0.0.1"), both("b", "10.0.0.2")];
    let (mode, addresses, unused) = chosen(&monitors, None, NEW);
    assert_eq!(mode, MsMode::PreferCrc);
    assert_eq!(addresses, ["10.0.0.1:3300", "10.0.0.2:3300"]);
    assert!(unused.is_empty());
    let v2_only = [monitor("a", &[], &["10.0.0.1:3300"])];
    assert_eq!(chosen(&v2_only, None, NEW).0, MsMode::PreferCrc);
}

#[test]
fn a_new_kernel_speaks_v1_if_one_monitor_has_nothing_else() {
    let monitors = [both("a", "10.0.0.1"), monitor("b", &["10.0.0.2:6789"], &[])];
    let (mode, addresses, unused) = chosen(&monitors, None, NEW);
    assert_eq!(mode, MsMode::Legacy);
    assert_eq!(addresses, ["10.0.0.1:6789", "10.0.0.2:6789"]);
    assert!(unused.is_empty());
}

#[test]
fn an_old_kernel_speaks_v1_to_the_monitors_that_have_it() {
    let monitors = [monitor("a", &[], &["10.0.0.1:3300"]), both("b", "10.0.0.2")];
    let (mode, addresses, unused) = chosen(&monitors, None, OLD);
    assert_eq!(mode, MsMode::Legacy);
    assert_eq!(addresses, ["10.0.0.2:6789"]);
    assert_eq!(unused, ["a"]);
}

#[test]
fn both_families_of_every_monitor_reach_the_kernel() {
    let dual = |name: &str, n: u8| {
        let (v4, v6) = (format!("10.0.0.{n}"), format!("[fd00::{n}]"));
        monitor(
            name,
            &[&format!("{v4}:6789"), &format!("{v6}:6789")],
            &[&format!("{v4}:3300"), &format!("{v6}:3300")],
        )
    };
    let monitors = [dual("a", 1), dual("b", 2)];
    assert_eq!(
        chosen(&monitors, None, NEW).1,
        [
            "10.0.0.1:3300",
            "[fd00::1]:3300",
            "10.0.0.2:3300",
            "[fd00::2]:3300"
        ]
    );
    assert_eq!(
        chosen(&monitors, None, OLD).1,
        [
            "10.0.0.1:6789",
            "[fd00::1]:6789",
            "10.0.0.2:6789",
            "[fd00::2]:6789"
        ]
    );
}

#[test]
fn the_device_config_decides_on_a_kernel_that_has_the_mode() {
    let monitors = [both("a", "10.0.0.1")];
    for mode in MsMode::ALL {
        let (used, addresses, _) = chosen(&monitors, Some(mode), NEW);
        assert_eq!(used, mode);
        let port = if mode == MsMode::Legacy { 6789 } else { 3300 };
        assert_eq!(addresses, [format!("10.0.0.1:{port}")]);
    }
    assert_eq!(
        chosen(&monitors, Some(MsMode::Legacy), OLD).0,
        MsMode::Legacy
    );
}

#[test]
fn an_old_kernel_refuses_a_mode_that_it_lacks() {
    let monitors = [both("a", "10.0.0.1")];
    let error = choose(&monitors, Some(MsMode::Secure), OLD).unwrap_err();
    let text = format!("{error}; {}", error.remedy());
    for word in ["ms_mode=secure", "5.11", OLD, "legacy"] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(error.errno(), 93);
}

#[test]
fn monitors_without_v1_are_an_error_on_an_old_kernel_with_the_commands() {
    let monitors = [
        monitor("a", &[], &["10.0.0.1:3300"]),
        monitor("b", &[], &["[fd00::2]:3301"]),
    ];
    let error = choose(&monitors, None, OLD).unwrap_err();
    assert_eq!(
        error.to_string(),
        "monitors a, b have no v1 address, and Linux 4.19.0+1 cannot use v2 (Linux 5.11 can)"
    );
    let remedy = error.remedy();
    for command in [
        "ceph mon set-addrs a '[v2:10.0.0.1:3300,v1:10.0.0.1:6789]'",
        "ceph mon set-addrs b '[v2:[fd00::2]:3301,v1:[fd00::2]:6789]'",
        "ceph config set osd ms_bind_msgr1 true",
    ] {
        assert!(remedy.contains(command), "{remedy}");
    }
}

#[test]
fn a_version_that_one_monitor_lacks_is_refused_on_a_new_kernel() {
    let monitors = [
        both("a", "10.0.0.1"),
        monitor("b", &["10.0.0.2:6789"], &[]),
        monitor("c", &[], &["10.0.0.3:3300"]),
    ];
    for (wanted, at_fault, clue) in [
        (
            Some(MsMode::Secure),
            "monitor b has no v2",
            "ms_mode=secure",
        ),
        (
            Some(MsMode::Legacy),
            "monitor c has no v1",
            "ms_mode=legacy",
        ),
        (None, "monitor b has no v2", "one version for all"),
    ] {
        let text = choose(&monitors, wanted, NEW).unwrap_err().to_string();
        assert!(text.contains(at_fault) && text.contains(clue), "{text}");
    }
}
