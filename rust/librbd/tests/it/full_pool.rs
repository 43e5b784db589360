//! A pool whose quota is reached: operations that need space fail at once, those that free space succeed.

use std::time::{Duration, Instant};

use crate::fixture::{plain, MIB};
use crate::own_pool::OwnPool;
use librbd::{ImageRef, Pool};

/// Writes until the cluster detects that the quota is reached, which takes some seconds. Each write goes to a
/// new object: the cluster accepts a write that needs no space.
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
fn images_of_a_full_pool_can_be_deleted() {
    let Some(own) = OwnPool::create("full") else {
        return;
    };
    let pool = own.user();
    pool.ensure_trash_object().unwrap();
    pool.omap_create("catalogue", &[("a".to_owned(), b"1".to_vec())])
        .unwrap();
    for name in ["full", "spare"] {
        pool.image_create(name, 16_384 * MIB, &plain()).unwrap();
    }
    own.quota(MIB);
    fill(&pool, "full");

    let start = Instant::now();
    let error = pool.image_create("one more", MIB, &plain()).unwrap_err();
    assert!(error.is_out_of_space(), "{error}");
    // Reads, and operations that need no space, succeed.
    assert_eq!(pool.image_list().unwrap().len(), 2);
    assert_eq!(pool.omap_get("catalogue", &["a"]).unwrap()["a"], b"1");
    let image = pool.image_open(&ImageRef::Name("full"), false).unwrap();
    let snap = image.snapshot_create("s").unwrap();
    image.snapshot_remove(snap).unwrap();
    let id = image.id().unwrap();
    image.resize(0, true, &mut |_, _| {}).unwrap();
    image.close().unwrap();
    // So do deletions.
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
