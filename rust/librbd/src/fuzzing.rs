//! Entry points of `make fuzz`: each gives bytes to a parser of data from the cluster. None may panic.

use serde_json::Value;

/// A reply to `mon dump`.
pub fn mon_dump(reply: &[u8]) {
    if let Ok(dump) = serde_json::from_slice::<Value>(reply) {
        let _ = crate::monitors::parse(&dump);
    }
}

/// A reply to `osd blocklist ls`. The result has no network.
pub fn blocklist(reply: &[u8]) {
    if let Ok(entries) = crate::blocklist::parse(reply) {
        assert!(entries.iter().all(|e| !e.address.starts_with("cidr:")));
    }
}

/// A reply of the class `rbd`, read as the reply of each method.
pub fn header(reply: &[u8]) {
    crate::header::read_in_every_way(reply);
}

/// A configuration and a keyring of Ceph, in both dialects. A fault's line is a line of the text.
pub fn ceph_files(text: &[u8]) {
    use crate::files::{judge_conf, judge_keyring, Dialect, Fault, Verdict};

    let path = std::path::Path::new("/etc/ceph/fuzzing");
    let lines = text.split(|byte| *byte == b'\n').count();
    let check = |fault: &Fault| {
        assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)));
        let _ = fault.to_string();
    };
    let check_all = |verdict: &Verdict| {
        verdict.refusal.iter().for_each(check);
        verdict.missing.iter().for_each(check);
        verdict.warnings.iter().for_each(check);
    };
    for dialect in [Dialect::Lines, Dialect::Grammar] {
        check_all(&judge_conf(text, path, "client.fuzzing", dialect));
        check_all(&judge_keyring(text, path, "client.fuzzing", dialect).verdict);
    }
}
