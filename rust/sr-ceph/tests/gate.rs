//! Every call that changes the cluster or the host is a crash point.
#![allow(clippy::unwrap_used)]

mod support;

use sr_ceph::cluster::{Cluster, Entries, Swap};
use sr_ceph::faults::{Faults, FaultyCluster, FaultyHost};
use sr_ceph::host::{Host, ImageKey, MapRequest};

use support::{Lab, A, B, GIB};

#[test]
fn no_call_changes_anything_without_being_a_crash_point() {
    let lab = Lab::bare();
    let process = lab.process(A);
    let faults = Faults::none();
    let cluster = FaultyCluster::new(&process.cluster, &faults);
    let host = FaultyHost::new(&process.host, &faults);
    let state = || {
        let world = &lab.world;
        let dead = world.is_declared_dead(A);
        (world.snapshot(), world.all_devices(), world.paused(), dead)
    };
    let mut changing = 0;
    // What it was said to be: a change or not.
    let mut check = |name: &str, changes: bool, call: &dyn Fn()| {
        let (before, counted) = (state(), faults.changes());
        call();
        assert_eq!(state() != before, changes, "{name}");
        assert_eq!(faults.changes() - counted, usize::from(changes), "{name}");
        changing += usize::from(changes);
    };
    let entries = Entries::from([("key".to_owned(), b"value".to_vec())]);
    let swap = Swap {
        remove: vec!["key".to_owned()],
        ..Swap::default()
    };
    let id = || cluster.image_by_name("image").unwrap().id;
    let request = || MapRequest {
        key: ImageKey {
            fsid: cluster.fsid().unwrap(),
            pool_id: cluster.pool_id(),
            image_id: id(),
            snap_id: None,
        },
        pool_name: cluster.pool_name().to_owned(),
        image_name: "image".to_owned(),
        snap_name: None,
        read_only: false,
        noshare: false,
        label: None,
    };
    let trashed = || cluster.trash().unwrap()[0].id.clone();

    check("create_object", true, &|| {
        cluster.create_object("o", &entries).unwrap()
    });
    check("read", false, &|| drop(cluster.read("o", "").unwrap()));
    check("get", false, &|| drop(cluster.get("o", &["key"]).unwrap()));
    check("swap", true, &|| cluster.swap("o", &swap).unwrap());
    check("remove_object", true, &|| {
        cluster.remove_object("o", &Entries::new()).unwrap()
    });
    check("prepare_trash", true, &|| cluster.prepare_trash().unwrap());
    check("create_image", true, &|| {
        cluster
            .create_image("image", GIB, 1, "meta")
            .map(drop)
            .unwrap();
    });
    check("create_snapshot", true, &|| {
        let _id = cluster.create_snapshot(&id(), "before").unwrap();
    });
    let snapshot = || cluster.image(&id()).unwrap().snapshots[0].id;
    check("is_unchanged_since", false, &|| {
        let _same = cluster.is_unchanged_since(&id(), snapshot()).unwrap();
    });
    check("clone_image", true, &|| {
        let parent = id();
        let clone = cluster.clone_image((&parent, snapshot()), "clone", 1, "meta");
        drop(clone.unwrap());
    });
    check("remove_snapshot", true, &|| {
        cluster.remove_snapshot(&id(), snapshot()).unwrap()
    });
    check("images", false, &|| drop(cluster.images().unwrap()));
    check("image_name", false, &|| {
        let _name = cluster.image_name(&id()).unwrap();
    });
    check("users", false, &|| drop(cluster.users(&id()).unwrap()));
    check("header", false, &|| {
        let _header = cluster.header(&id()).unwrap();
    });
    check("image", false, &|| drop(cluster.image(&id()).unwrap()));
    check("grow_image", true, &|| {
        cluster.grow_image(&id(), 2 * GIB).unwrap()
    });
    check("schedule_flatten", true, &|| {
        cluster.schedule_flatten("clone").unwrap()
    });
    let clone_id = cluster.image_by_name("clone").unwrap().id;
    check("flatten_image", true, &|| {
        cluster.flatten_image(&clone_id, &mut |_, _| {}).unwrap()
    });
    check("empty_image", true, &|| {
        cluster.empty_image(&clone_id, &mut |_, _| {}).unwrap()
    });
    check("map", true, &|| drop(host.map(&request()).unwrap()));
    check("mappings", false, &|| drop(host.mappings().unwrap()));
    check("watchers", false, &|| {
        drop(cluster.watchers(&id()).unwrap())
    });
    check("unmap", true, &|| {
        host.unmap(&host.mappings().unwrap()[0], 1).unwrap()
    });
    check("supported_features", false, &|| {
        let _asked = host.supported_features().unwrap();
    });
    check("watches_readers", false, &|| {
        let _asked = host.watches_readers().unwrap();
    });
    check("membership", false, &|| {
        let _asked = host.membership(A).unwrap();
    });
    check("pool", false, &|| drop(host.pool().unwrap()));
    let asked = uuid::Uuid::new_v4();
    check("ask", false, &|| drop(host.ask(B, &asked).unwrap()));
    check("seen_for", false, &|| {
        let _seen = host.seen_for("key", "value").unwrap();
    });
    lab.world.declare_dead(A, true);
    check("revive", true, &|| host.revive().unwrap());
    let disk = uuid::Uuid::new_v4();
    check("pause_disk", true, &|| host.pause_disk(&disk).unwrap());
    check("resume_disk", true, &|| host.resume_disk(&disk).unwrap());
    check("is_gone", false, &|| {
        let _asked = host.is_gone(host.owner());
    });
    check("pause", false, &|| host.pause(1));
    cluster.trash_image("clone").unwrap();
    cluster.purge(&trashed(), &mut |_, _| {}).unwrap();
    check("trash_image", true, &|| {
        cluster.trash_image("image").unwrap()
    });
    check("schedule_purge", true, &|| {
        cluster.schedule_purge(&trashed()).unwrap()
    });
    check("purge", true, &|| {
        cluster.purge(&trashed(), &mut |_, _| {}).unwrap()
    });
    check("df", false, &|| drop(cluster.df().unwrap()));
    check("osd_dump", false, &|| drop(cluster.osd_dump().unwrap()));
    check("address", false, &|| drop(cluster.address().unwrap()));
    check("blocklist", true, &|| {
        cluster.blocklist("127.0.0.1:0/999", 60).unwrap()
    });
    check("may_blocklist", false, &|| cluster.may_blocklist().unwrap());
    check("blocklisted", false, &|| {
        drop(cluster.blocklisted().unwrap())
    });
    assert_eq!(changing, 21);
}
