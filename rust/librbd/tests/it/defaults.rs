//! New images do not depend on the defaults of the cluster.

use librbd::{Image, ImageRef, Pool, SnapshotRef};
use serde_json::json;

use crate::fixture::{plain, FEATURES, MIB};
use crate::locks::run;
use crate::own_pool::{command, OwnPool};

/// `RBD_FEATURE_OPERATIONS`: a clone, or the parent of one.
const OPERATIONS: u64 = 256;
/// `RBD_FEATURE_STRIPINGV2`.
const STRIPING: u64 = 2;
/// `RBD_FEATURE_JOURNALING`.
const JOURNALING: u64 = 64;

fn is_plain(image: &Image, features: u64) {
    assert_eq!(image.features().unwrap() & !OPERATIONS, features);
    let info = image.info().unwrap();
    assert_eq!((info.order, info.object_size), (22, 4 * MIB));
    let id = image.id().unwrap();
    assert_eq!(info.block_name_prefix, format!("rbd_data.{id}"));
    let header = image.pool().header(&id);
    assert_eq!(header.features().unwrap() & !OPERATIONS, features);
}

fn open(pool: &Pool, name: &str) -> Image {
    pool.image_open(&ImageRef::Name(name), false).unwrap()
}

#[test]
fn new_images_do_not_depend_on_the_defaults_of_the_cluster() {
    let Some(own) = OwnPool::create("defaults") else {
        return;
    };
    let Some(other) = OwnPool::create("data") else {
        return;
    };
    let user = format!("client.{}", own.pool);
    let defaults = [
        ("rbd_default_data_pool", other.pool.as_str()),
        ("rbd_default_order", "13"),
        ("rbd_default_stripe_unit", "4096"),
        ("rbd_default_stripe_count", "4"),
        ("rbd_default_features", "61"),
        ("rbd_default_clone_format", "1"),
        ("rbd_default_format", "1"),
        ("rbd_journal_pool", other.pool.as_str()),
    ];
    for (name, value) in defaults {
        command(
            &own.admin,
            json!({"prefix": "config set", "who": user, "name": name, "value": value}),
        );
        // A pool has no such option.
        if name != "rbd_default_format" {
            run(&own, &["config", "pool", "set", &own.pool, name, value]);
        }
    }
    let pool = own.user();
    let data_pool = pool.cluster().conf_get("rbd_default_data_pool").unwrap();
    assert_eq!(
        data_pool.as_ref(),
        Some(&other.pool),
        "the connection has the defaults"
    );

    pool.image_create("image", 64 * MIB, &plain()).unwrap();
    let image = open(&pool, "image");
    is_plain(&image, FEATURES);
    image.write_at(0, b"data").unwrap();
    image.snapshot_create("s").unwrap();
    let (parent, snapshot) = (ImageRef::Name("image"), SnapshotRef::Name("s"));
    pool.image_clone(&parent, &snapshot, "clone", &plain())
        .unwrap();
    let clone = open(&pool, "clone");
    is_plain(&clone, FEATURES);
    clone.write_at(5 * MIB, b"data").unwrap();

    let striped = librbd::CreateOptions {
        object_size: MIB,
        stripes: Some((MIB / 16, 3)),
        ..plain()
    };
    pool.image_create("striped", 64 * MIB, &striped).unwrap();
    pool.image_clone(&parent, &snapshot, "striped clone", &striped)
        .unwrap();
    for name in ["striped", "striped clone"] {
        let image = open(&pool, name);
        assert_eq!(image.features().unwrap() & !OPERATIONS, FEATURES | STRIPING);
        assert_eq!(image.info().unwrap().object_size, MIB);
        image.write_at(5 * MIB, b"data").unwrap();
    }

    let journaled = librbd::CreateOptions {
        features: FEATURES | JOURNALING,
        ..plain()
    };
    pool.image_create("journaled", 8 * MIB, &journaled).unwrap();
    let image = open(&pool, "journaled");
    is_plain(&image, FEATURES | JOURNALING);
    image.write_at(0, b"data").unwrap();
    for (name, _) in defaults {
        command(
            &own.admin,
            json!({"prefix": "config rm", "who": user, "name": name}),
        );
    }
}
