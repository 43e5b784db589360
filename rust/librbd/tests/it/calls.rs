//! The cost of an operation, counted in C calls. All tests of a process share the counters, so the counting
//! test runs in a process of its own: this program again.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;

use librbd::{calls, OmapCursor, OmapUpdate};

use crate::fixture::Fixture;

/// The requests of `operation`.
fn cost(operation: impl FnOnce()) -> BTreeMap<&'static str, u64> {
    let before = calls::snapshot();
    operation();
    let made = calls::snapshot()
        .into_iter()
        .map(|(call, count)| (call, count - before[call]));
    made.filter(|(call, count)| *count > 0 && call.ends_with("_operate"))
        .collect()
}

#[test]
fn reads_and_changes_of_an_omap_are_one_request_each() {
    if Fixture::connect().is_none() {
        return;
    }
    let counted = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "calls::requests_are_counted"])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&counted.stdout);
    assert!(output.contains("1 passed; 0 failed"), "{output}");
}

#[test]
#[ignore = "it is the child process of the other test"]
fn requests_are_counted() {
    let fixture = Fixture::connect().unwrap();
    let object = fixture.name("counted");
    let pairs: Vec<_> = (0..100)
        .map(|n| (format!("k{n}"), b"value".to_vec()))
        .collect();
    let created = cost(|| fixture.pool.omap_create(&object, &pairs).unwrap());
    assert_eq!(created, BTreeMap::from([("rados_write_op_operate", 1)]));

    let read = cost(|| {
        assert!(fixture
            .pool
            .omap_page(&object, &OmapCursor::default(), "", 100)
            .unwrap()
            .next
            .is_none())
    });
    assert_eq!(read, BTreeMap::from([("rados_read_op_operate", 1)]));

    let update = OmapUpdate {
        expect: vec![("k1".to_owned(), Some(b"value".to_vec()))],
        set: vec![("k2".to_owned(), b"other".to_vec())],
        remove: vec!["k3".to_owned()],
    };
    let changed = cost(|| fixture.pool.omap_update(&object, &update).unwrap());
    assert_eq!(changed, BTreeMap::from([("rados_write_op_operate", 1)]));
    assert_eq!(calls::snapshot()["rados_connect"], 1);
    fixture.pool.remove_object(&object).unwrap();
}
