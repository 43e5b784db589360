//! Every call that changes the cluster or the host is a crash point.

use sr_ceph::faults::{Faults, FaultyHost, FaultyPool};
use sr_ceph::host::{Host, ImageKey, MapRequest};
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::pool::{
    Comparison, Deletion, Entries, Inspection, Listing, Part, Pool, Templates, Transaction,
};

use crate::support::{Lab, A, B, GIB};

#[test]
fn every_call_that_changes_something_is_a_crash_point() {
    let lab = Lab::bare();
    let process = lab.process(A);
    let faults = Faults::none();
    let pool = FaultyPool::new(&process.pool, &faults);
    let host = FaultyHost::new(&process.host, &faults);
    let state = || {
        let sim = &lab.sim;
        let dead = sim.is_declared_dead(A);
        (sim.snapshot(), sim.all_devices(), sim.paused(), dead)
    };
    let mut changing = 0;
    // The wrapper must count the call as what it is: a change or a read.
    let mut check = |name: &str, changes: bool, call: &dyn Fn()| {
        let (before, counted) = (state(), faults.changes());
        call();
        assert_eq!(state() != before, changes, "{name}");
        assert_eq!(faults.changes() - counted, usize::from(changes), "{name}");
        changing += usize::from(changes);
    };
    let entries = Entries::from([("key".to_owned(), b"value".to_vec())]);
    let transaction = Transaction {
        remove: vec!["key".to_owned()],
        ..Transaction::default()
    };
    let format = ImageFeatures::LAYERING.into();
    let id = || pool.image_by_name("image").unwrap().id;
    let request = || MapRequest {
        key: ImageKey {
            fsid: pool.fsid().unwrap(),
            pool_id: pool.pool_id(),
            namespace: pool.namespace().to_owned(),
            image_id: id(),
            snap_id: None,
        },
        pool_name: pool.pool_name().to_owned(),
        image_name: "image".to_owned(),
        snap_name: None,
        read_only: false,
        noshare: false,
        label: None,
    };
    let trashed = || pool.trash().unwrap()[0].id.clone();

    check("create_object", true, &|| {
        pool.create_object("o", &entries).unwrap()
    });
    check("read", false, &|| drop(pool.read("o", "").unwrap()));
    check("get", false, &|| drop(pool.get("o", &["key"]).unwrap()));
    check("swap", true, &|| {
        pool.transaction("o", &transaction).unwrap()
    });
    check("remove_object", true, &|| {
        pool.remove_object("o", &Entries::new()).unwrap()
    });
    check("prepare_trash", true, &|| pool.prepare_trash().unwrap());
    check("create_image", true, &|| {
        pool.create_image("image", GIB, &format, "meta")
            .map(drop)
            .unwrap();
    });
    check("create_snapshot", true, &|| {
        let _id = pool.create_snapshot(&id(), "before").unwrap();
    });
    let snapshot = || pool.image(&id()).unwrap().snapshots[0].id;
    check("is_unchanged_since", false, &|| {
        let _same = pool.is_unchanged_since(&id(), snapshot()).unwrap();
    });
    check("changed_blocks", false, &|| {
        let found = pool.changed_blocks(&id(), snapshot(), None, GIB);
        drop(found.unwrap());
    });
    check("clone_image", true, &|| {
        let parent = id();
        let clone = pool.clone_image((&parent, snapshot()), "clone", &format, "meta");
        drop(clone.unwrap());
    });
    check("clone_template", true, &|| {
        let source = id();
        let clone = pool.clone_template(("rbd", &source, snapshot()), "template", &format, "meta");
        drop(clone.unwrap());
    });
    let made = process.pool.image_by_name("template").unwrap().id;
    process.pool.flatten_image(&made, &mut |_, _| {}).unwrap();
    check("remove_snapshot", true, &|| {
        pool.remove_snapshot(&id(), snapshot()).unwrap()
    });
    check("images", false, &|| drop(pool.images().unwrap()));
    check("image_name", false, &|| {
        let _name = pool.image_name(&id()).unwrap();
    });
    check("require_removable", false, &|| {
        pool.require_removable(&id(), snapshot()).unwrap()
    });
    check("users", false, &|| drop(pool.users(&id()).unwrap()));
    check("template", false, &|| {
        drop(pool.template("rbd", "image", None).unwrap());
    });
    check("first_bytes", false, &|| {
        drop(pool.first_bytes("rbd", &id(), 0).unwrap());
    });
    check("monitors", false, &|| drop(pool.monitors().unwrap()));
    check("header", false, &|| {
        let _header = pool.header(&id()).unwrap();
    });
    check("image", false, &|| drop(pool.image(&id()).unwrap()));
    check("object_size_of", false, &|| {
        let _size = pool.object_size_of(&id()).unwrap();
    });
    check("data_in", false, &|| {
        let _bytes = pool.data_in(&id(), None, 0, GIB).unwrap();
    });
    check("count_objects", false, &|| {
        let whole = Part { number: 0, of: 1 };
        drop(pool.count_objects(None, whole).unwrap());
    });
    check("data_pool_of", false, &|| {
        drop(pool.data_pool_of(&id()).unwrap());
    });
    check("grow_image", true, &|| {
        pool.grow_image(&id(), 2 * GIB).unwrap()
    });
    check("schedule_flatten", true, &|| {
        pool.schedule_flatten("clone").unwrap()
    });
    let clone_id = pool.image_by_name("clone").unwrap().id;
    check("flatten_image", true, &|| {
        pool.flatten_image(&clone_id, &mut |_, _| {}).unwrap()
    });
    check("empty_image", true, &|| {
        pool.empty_image(&clone_id, &mut |_, _| {}).unwrap()
    });
    check("map", true, &|| drop(host.map(&request()).unwrap()));
    check("mappings", false, &|| drop(host.mappings().unwrap()));
    check("watchers", false, &|| drop(pool.watchers(&id()).unwrap()));
    check("unmap", true, &|| {
        host.unmap(&host.mappings().unwrap()[0], 1).unwrap()
    });
    check("supported_features", false, &|| {
        let _asked = host.supported_features().unwrap();
    });
    check("kernel", false, &|| drop(host.kernel().unwrap()));
    check("require_namespace", false, &|| {
        pool.require_namespace().unwrap();
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
    lab.sim.declare_dead(A, true);
    check("revive", true, &|| host.revive().unwrap());
    let disk = uuid::Uuid::new_v4();
    check("pause_disk", true, &|| host.pause_disk(&disk).unwrap());
    check("resume_disk", true, &|| {
        assert!(host.resume_disk(&disk).unwrap())
    });
    check("is_task_over", false, &|| {
        assert!(host.is_task_over("task").unwrap())
    });
    check("is_gone", false, &|| {
        let _asked = host.is_gone(host.owner());
    });
    check("sleep", false, &|| host.sleep(1));
    pool.trash_image("clone").unwrap();
    pool.purge(&trashed(), &mut |_, _| {}).unwrap();
    check("trash_image", true, &|| pool.trash_image("image").unwrap());
    check("schedule_purge", true, &|| {
        pool.schedule_purge(&trashed()).unwrap()
    });
    check("purge", true, &|| {
        pool.purge(&trashed(), &mut |_, _| {}).unwrap()
    });
    check("df", false, &|| drop(pool.df().unwrap()));
    check("osd_dump", false, &|| drop(pool.osd_dump().unwrap()));
    check("address", false, &|| drop(pool.address().unwrap()));
    check("blocklist", true, &|| {
        pool.blocklist("127.0.0.1:0/999", 60).unwrap()
    });
    check("may_blocklist", false, &|| pool.may_blocklist().unwrap());
    check("blocklisted", false, &|| drop(pool.blocklisted().unwrap()));
    assert_eq!(changing, 22);
}
