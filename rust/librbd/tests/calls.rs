//! The cost of an operation, counted in C calls. Alone in its process: the counters are one for all.
#![allow(clippy::unwrap_used)]

#[path = "cluster/lab.rs"]
#[allow(dead_code)]
mod lab;

use std::collections::BTreeMap;

use lab::Lab;
use librbd::{calls, OmapCursor, OmapUpdate};

/// The calls that `operation` made, but for those that only prepare or give back memory.
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
fn reading_pairs_and_changing_them_is_one_operation_each() {
    let Some(lab) = Lab::connect() else { return };
    let object = lab.name("counted");
    let pairs: Vec<_> = (0..100)
        .map(|n| (format!("k{n}"), b"value".to_vec()))
        .collect();
    let created = cost(|| lab.pool.omap_create(&object, &pairs).unwrap());
    assert_eq!(created, BTreeMap::from([("rados_write_op_operate", 1)]));

    let read = cost(|| {
        assert!(lab
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
    let changed = cost(|| lab.pool.omap_update(&object, &update).unwrap());
    assert_eq!(changed, BTreeMap::from([("rados_write_op_operate", 1)]));
    assert_eq!(calls::snapshot()["rados_connect"], 1);
    lab.pool.remove_object(&object).unwrap();
}
