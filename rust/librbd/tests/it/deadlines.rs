//! Every call ends by its deadline: with OSDs that do not reply, and with a lock that is not released.

use std::thread;
use std::time::{Duration, Instant};

use librbd::{Cluster, ConnectOptions, Error, ImageRef, OmapUpdate, Pool, Result};
use serde_json::json;

use crate::fixture::{plain, MIB};
use crate::locks::FrozenClient;
use crate::own_pool::{command, OwnPool};

const TIMEOUT: Duration = Duration::from_secs(2);

/// The timeout and its extension, the time to explain the error, and a reserve for a busy host.
const AT_MOST: Duration = Duration::from_secs(8);

type Work = fn(&Pool) -> Result<()>;

/// The calls while the OSDs do not reply, each on a connection of its own.
const CALLS: [(&str, Work); 12] = [
    ("omap_get", |pool| pool.omap_get("object", &["k"]).map(drop)),
    ("omap_update", |pool| {
        pool.omap_update("object", &OmapUpdate::default())
    }),
    ("object_exists", |pool| {
        pool.object_exists("object").map(drop)
    }),
    ("remove_object", |pool| pool.remove_object("object")),
    ("image_id", |pool| pool.image_id("image").map(drop)),
    ("image_list", |pool| pool.image_list().map(drop)),
    ("image_open", |pool| {
        pool.image_open(&ImageRef::Name("image"), false).map(drop)
    }),
    ("image_create", |pool| {
        pool.image_create("other", MIB, &plain())
    }),
    ("trash_list", |pool| pool.trash_list().map(drop)),
    ("trash_move", |pool| pool.trash_move("image", 0)),
    ("trash_restore", |pool| pool.trash_restore("0", "restored")),
    ("trash_remove", |pool| {
        pool.trash_remove("0", true, &mut |_, _| {})
    }),
];

fn ends_in_time(what: &str, work: impl FnOnce() -> Result<()>) -> Error {
    let start = Instant::now();
    let error = work().unwrap_err();
    let took = start.elapsed();
    assert!(took < AT_MOST, "{what} took {took:?}: {error}");
    error
}

fn pool_of(own: &OwnPool, options: &ConnectOptions) -> Pool {
    let cluster = Cluster::connect(options).unwrap();
    cluster.pool(&own.pool).unwrap()
}

#[test]
fn every_call_ends_by_its_deadline_while_the_osds_do_not_reply() {
    let Some(own) = OwnPool::create("frozen") else {
        return;
    };
    let before = own.user();
    before
        .omap_create("object", &[("k".to_owned(), b"v".to_vec())])
        .unwrap();
    before.image_create("image", 8 * MIB, &plain()).unwrap();
    let options = ConnectOptions {
        timeout: TIMEOUT,
        ..own.options.clone()
    };
    let open = |read_only| {
        let pool = pool_of(&own, &options);
        pool.image_open(&ImageRef::Name("image"), read_only)
            .unwrap()
    };
    let (snapshot, resize, meta, seen) = (open(false), open(false), open(false), open(true));
    let pools: Vec<_> = CALLS.iter().map(|_| pool_of(&own, &options)).collect();
    // Two copies on one OSD: the OSD replies to no request to this pool.
    for var in ["size", "min_size"] {
        command(
            &own.admin,
            json!({"prefix": "osd pool set", "pool": own.pool, "var": var, "val": "2"}),
        );
    }
    thread::scope(|scope| {
        for ((what, work), pool) in CALLS.iter().zip(&pools) {
            scope.spawn(move || {
                let error = ends_in_time(what, || work(pool));
                assert!(error.is_timed_out(), "{what}: {error}");
                let text = error.to_string();
                assert!(text.contains("ceph health detail"), "{what}: {text}");
                assert!(text.contains("the monitors reply"), "{what}: {text}");
            });
        }
        scope.spawn(|| ends_in_time("snapshot", || snapshot.snapshot_create("s").map(drop)));
        scope.spawn(|| ends_in_time("resize", || resize.resize(MIB, true, &mut |_, _| {})));
        scope.spawn(|| ends_in_time("metadata", || meta.metadata_set("k", "v")));
        scope.spawn(|| ends_in_time("watchers", || seen.watchers().map(drop)));
    });
    // The close does not hang, either.
    let start = Instant::now();
    drop((snapshot, resize, meta, seen, pools));
    assert!(start.elapsed() < AT_MOST * 2, "{:?}", start.elapsed());
    for var in ["min_size", "size"] {
        command(
            &own.admin,
            json!({"prefix": "osd pool set", "pool": own.pool, "var": var, "val": "1",
                   "yes_i_really_mean_it": true}),
        );
    }
}

#[test]
fn a_change_of_a_locked_image_ends_by_its_deadline() {
    let Some(own) = OwnPool::create("held") else {
        return;
    };
    let quick = own.user();
    quick.image_create("image", 64 * MIB, &plain()).unwrap();
    let id = quick.image_id("image").unwrap().unwrap();
    let frozen = FrozenClient::freeze(&own, &quick, &id);
    let options = ConnectOptions {
        timeout: TIMEOUT,
        ..own.options.clone()
    };
    let pool = pool_of(&own, &options);
    let error = ends_in_time("trash_move", || pool.trash_move("image", 0));
    let text = error.to_string();
    assert!(text.contains("rbd_trash_move"), "{text}");
    assert!(text.contains(&frozen.client()), "{text}");
    if error.errno() == Some(16) {
        return frozen.end(&own); // Nautilus returns before the deadline
    }
    assert!(error.is_outcome_unknown(), "{error}");

    // Its effect may come late, so this connection refuses other changes, but not reads.
    let start = Instant::now();
    let refused = pool.image_create("other", MIB, &plain()).unwrap_err();
    assert!(refused.is_outcome_unknown(), "{refused}");
    assert!(refused.to_string().contains("has not ended"), "{refused}");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(pool.image_id("other").unwrap(), None);
    frozen.end(&own);
}
