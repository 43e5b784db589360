//! A pool whose quota is reached: what needs room fails at once, what frees it goes on.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::lab::{plain, MIB};
use librbd::{ImageRef, Pool};

/// Writes until the cluster notices that the quota is reached, which takes it some seconds. Each
/// write goes to an object of its own, as one that needs no more room would not be refused.
fn fill(pool: &Pool, name: &str) {
    let image = pool.image_open(&ImageRef::Name(name), false).unwrap();
    let info = image.info().unwrap();
    let data = vec![1; 1 << 16];
    for object in 0..info.num_objects {
        if let Err(error) = image.write_at(object * info.object_size, &data) {
            assert!(error.is_out_of_space(), "{error}");
            assert_eq!(error.errno(), Some(122), "a quota is EDQUOT: {error}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the quota is not enforced");
}

#[test]
fn on_a_full_pool_nothing_blocks_and_everything_can_be_deleted() {
    let Some(arena) = Arena::make("full") else {
        return;
    };
    let pool = arena.user();
    pool.ensure_trash_object().unwrap();
    pool.omap_create("catalogue", &[("a".to_owned(), b"1".to_vec())])
        .unwrap();
    for name in ["full", "spare"] {
        pool.image_create(name, 16_384 * MIB, &plain()).unwrap();
    }
    arena.quota(MIB);
    fill(&pool, "full");

    let start = Instant::now();
    let error = pool.image_create("one more", MIB, &plain()).unwrap_err();
    assert!(error.is_out_of_space(), "{error}");
    // Looking, and what needs no room, goes on.
    assert_eq!(pool.image_list().unwrap().len(), 2);
    assert_eq!(pool.omap_get("catalogue", &["a"]).unwrap()["a"], b"1");
    let image = pool.image_open(&ImageRef::Name("full"), false).unwrap();
    let snap = image.snapshot_create("s").unwrap();
    image.snapshot_remove(snap).unwrap();
    let id = image.id().unwrap();
    image.resize(0, true, &mut |_, _| {}).unwrap();
    image.close().unwrap();
    // And so does deleting.
    pool.trash_move("full", 0).unwrap();
    pool.trash_remove(&id, true, &mut |_, _| {}).unwrap();
    pool.trash_move("spare", 0).unwrap();
    pool.remove_object("catalogue").unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}
