//! The latency of small requests to a server, on the real kernel, in a network namespace of the test.

use std::process::Command;

const SIM: &str = env!("CARGO_BIN_EXE_crucible-server-sim");

/// Returns the output of shell commands in a new network namespace; `{}` is the simulator.
fn in_network_namespace(commands: &str) -> String {
    let script = format!("ip link set lo up\n{}", commands.replace("{}", SIM));
    let output = Command::new("unshare")
        .args(["--net", "sh", "-e", "-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn quick_ack_removes_the_delay_of_replies() {
    let output = in_network_namespace("{} measure; {} quick-ack; {} quick-ack; {} measure");
    let times: Vec<u64> = output.lines().map(|time| time.parse().unwrap()).collect();
    let [before, after] = times[..] else {
        panic!("{output}")
    };
    // 44 ms and 0.02 ms on an idle machine.
    assert!(
        before > 30_000 && after < 10_000,
        "{before} us, then {after} us"
    );
}

#[test]
fn quick_ack_changes_no_other_route() {
    let output =
        in_network_namespace("{} quick-ack; ip route show table local; ip route get 127.0.0.1");
    let quick: Vec<&str> = output
        .lines()
        .filter(|line| line.contains("quickack"))
        .collect();
    assert_eq!(quick.len(), 1, "{output}");
    assert!(
        quick[0].starts_with("local 127.115.109.1 dev lo "),
        "{output}"
    );
}

#[test]
fn a_route_that_cannot_be_set_is_a_warning() {
    let output =
        in_network_namespace("setpriv --bounding-set=-net_admin {} quick-ack; echo goes on");
    assert!(
        output.starts_with("WARN: volumes are slow: `/usr/sbin/ip route replace"),
        "{output}"
    );
    assert!(
        output.ends_with("Operation not permitted\ngoes on\n"),
        "{output}"
    );
}
