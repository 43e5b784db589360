//! Only images that smblock moved to the trash are purged, and no image that the catalogue names.

use std::collections::BTreeSet;

use sr_ceph::pool::Deletion;

use super::*;

/// Deletes a disk in a cluster without a manager. Returns the id of its image in the trash.
fn deleted(lab: &Lab) -> String {
    let disk = lab.create(GIB);
    let image = lab.image_id(&disk);
    delete(lab, &disk);
    image
}

/// Runs everything that purges.
fn let_all_purge(lab: &Lab) {
    for present in [true, false] {
        lab.sim.set_manager(present);
        lab.scan(B).unwrap();
        lab.sim.run_manager();
        reclaim(lab);
    }
}

fn trash(lab: &Lab) -> Vec<String> {
    lab.sim.snapshot().trash.into_iter().collect()
}

/// Adds smblock's mark to an image in the trash.
fn forge_mark(lab: &Lab, id: &str) {
    let mark = serde_json::json!({
        "version": 1, "nonce": Uuid::new_v4(), "image": {"name": "any", "id": id},
    });
    let key = format!("trash.{id}");
    let text = mark.to_string();
    lab.sim.put(&lab.catalogue(), &key, text.as_bytes());
}

#[test]
fn reclaim_leaves_a_disk_that_was_moved_to_the_trash_by_hand() {
    for marked in [false, true] {
        let lab = Lab::new();
        let disk = lab.create(GIB);
        let name = lab.image_name(&disk);
        let id = lab.sim.move_to_trash(&name).unwrap();
        if marked {
            forge_mark(&lab, &id);
        }
        let_all_purge(&lab);
        assert_eq!(trash(&lab).concat(), id);
        let warnings = lab.scan(A).unwrap().warnings;
        let restore = format!("'rbd trash restore --pool rbd {id}' brings it back");
        assert!(warnings[0].contains(&restore), "{warnings:?}");
        let listed = pending(&lab).remove(0);
        let kind = [Kind::TrashedOutside, Kind::Trashed][usize::from(marked)].clone();
        assert_eq!(listed.kind, kind);
        let waits_for = listed.waits_for.unwrap().to_string();
        assert!(waits_for.contains(&restore), "{waits_for}");
        assert!(waits_for.contains(&format!("vdi.{disk}")), "{waits_for}");

        lab.sim.restore_from_trash(&id);
        lab.activate(A, &disk).unwrap();
    }
}

/// The ways in which the catalogue can name the image of that id.
type Naming = fn(&Lab, &str);

fn put(lab: &Lab, key: &str, value: &serde_json::Value) {
    lab.sim
        .put(&lab.catalogue(), key, value.to_string().as_bytes());
}

fn put_intent(lab: &Lab, action: serde_json::Value) {
    let mut intent = serde_json::json!({
        "version": 1, "nonce": Uuid::new_v4(), "address": "127.0.0.1:0/99999",
        "owner": {"host": "host-c", "boot_id": "b", "pid": 1, "started": 1},
        "lease_until": 4_000_000_000_u64,
    });
    let fields = intent.as_object_mut().unwrap();
    fields.extend(action.as_object().unwrap().clone());
    put(lab, &format!("op.{}", Uuid::new_v4()), &intent);
}

fn put_vdi(lab: &Lab, change: impl FnOnce(&mut serde_json::Value)) {
    let disk = lab.create(GIB);
    let catalogue = lab.sim.object(&lab.catalogue()).unwrap();
    let key = format!("vdi.{disk}");
    let mut record: serde_json::Value = serde_json::from_slice(&catalogue[&key]).unwrap();
    change(&mut record);
    put(lab, &key, &record);
}

#[test]
fn no_image_is_purged_that_any_key_of_the_catalogue_names() {
    let namings: [(&str, Naming); 12] = [
        ("head", |lab, id| {
            put_vdi(lab, |record| record["volume"]["image"]["id"] = id.into());
        }),
        ("snapshot", |lab, id| {
            put_vdi(lab, |record| {
                record["volume"] = serde_json::json!({"kind": "snapshot",
                    "image": {"name": "any", "id": id}, "snapshot": {"name": "s", "id": 1}});
            });
        }),
        ("reset point", |lab, id| {
            put_vdi(lab, |record| {
                record["reset_point"] = serde_json::json!({"depth": 0,
                    "image": {"name": "any", "id": id}, "snapshot": {"name": "s", "id": 1}});
            });
        }),
        ("creation", |lab, id| {
            let trashed = lab.sim.client().trash().unwrap();
            let name = &trashed.iter().find(|image| image.id == id).unwrap().name;
            put_intent(
                lab,
                serde_json::json!({"action": "create_disk", "image_name": name}),
            );
        }),
        ("snapshot intent", |lab, id| {
            put_intent(
                lab,
                serde_json::json!({"action": "snapshot", "paused": false,
                    "image": {"name": "any", "id": id}, "snapshot_name": "s"}),
            );
        }),
        ("clone intent", |lab, id| {
            put_intent(
                lab,
                serde_json::json!({"action": "clone_disk",
                    "image": {"name": "any", "id": id}, "snapshot_name": "s"}),
            );
        }),
        ("grow intent", |lab, id| {
            put_intent(
                lab,
                serde_json::json!({"action": "grow", "size": 1,
                    "image": {"name": "any", "id": id}}),
            );
        }),
        ("deletion", |lab, id| {
            put_intent(
                lab,
                serde_json::json!({"action": "delete_disk", "image": {"name": "any", "id": id}}),
            );
        }),
        ("unreadable record", |lab, _| {
            let key = format!("vdi.{}", Uuid::new_v4());
            lab.sim.put(&lab.catalogue(), &key, b"\xff");
        }),
        ("newer record", |lab, _| {
            let key = format!("vdi.{}", Uuid::new_v4());
            put(lab, &key, &serde_json::json!({"version": 2}));
        }),
        ("unreadable intent", |lab, _| {
            let key = format!("op.{}", Uuid::new_v4());
            lab.sim.put(&lab.catalogue(), &key, b"{");
        }),
        ("unreadable hidden key", |lab, _| {
            lab.sim.put(&lab.catalogue(), "hidden.1", b"null");
        }),
    ];
    for (what, name) in namings {
        let lab = alone();
        let id = deleted(&lab);
        name(&lab, &id);
        let_all_purge(&lab);
        assert_eq!(trash(&lab), [id], "{what}");
        assert_eq!(lab.sim.wrong_purges(), [""; 0], "{what}");
    }
}

#[test]
fn an_unreadable_value_that_blocks_reclaim_is_named() {
    let lab = alone();
    deleted(&lab);
    lab.sim.put(&lab.catalogue(), "hidden.1", b"null");
    let waits_for = pending(&lab).remove(0).waits_for.unwrap().to_string();
    let remove = format!("rados -p rbd rmomapkey {} hidden.1", lab.catalogue());
    assert!(waits_for.contains(&remove), "{waits_for}");
}

#[test]
fn nothing_is_purged_in_an_sr_of_a_newer_format() {
    let lab = alone();
    let id = deleted(&lab);
    put(&lab, "sr", &serde_json::json!({"version": 2}));
    reclaim(&lab);
    assert_eq!(trash(&lab), [id]);
}

#[test]
fn a_newer_value_that_blocks_reclaim_is_not_offered_for_removal() {
    let lab = alone();
    deleted(&lab);
    put(
        &lab,
        "hidden.1",
        &serde_json::json!({"version": 2, "smblock": "9.9.9"}),
    );
    let waits_for = pending(&lab).remove(0).waits_for.unwrap().to_string();
    assert!(waits_for.contains("smblock-9.9.9-1"), "{waits_for}");
    assert!(!waits_for.contains("rmomapkey"), "{waits_for}");
}

#[test]
fn reclaim_lists_images_moved_to_the_trash_by_hand_and_leaves_them() {
    let lab = Lab::new();
    let name = format!("smblock.{}.stray", lab.sr);
    let id = lab.sim.create_foreign_image(&name, GIB);
    lab.sim.move_to_trash(&name);
    let other = lab.sim.create_foreign_image("somebody-elses", GIB);
    lab.sim.move_to_trash("somebody-elses");
    let_all_purge(&lab);
    assert_eq!(trash(&lab), [id.clone(), other]);
    let [listed] = &pending(&lab)[..] else {
        panic!("{:?}", pending(&lab))
    };
    assert_eq!(
        (&listed.image.id, &listed.kind),
        (&id, &Kind::TrashedOutside)
    );
    let waits_for = listed.waits_for.as_ref().unwrap().to_string();
    for command in ["restore", "rm"] {
        let command = format!("'rbd trash {command} --pool rbd {id}'");
        assert!(waits_for.contains(&command), "{waits_for}");
    }
    // With it the SR cannot be deleted. The refusal has the command.
    let refused = lab.run(A, |sr| sr.delete_sr()).unwrap_err();
    assert!(matches!(refused, Error::SrNotEmpty { trashed: 1, .. }));
    let refused = refused.to_string();
    assert!(
        refused.contains(&format!("rbd trash rm --pool rbd {id}")),
        "{refused}"
    );
}

#[test]
fn a_renamed_image_is_freed_when_its_disk_is_deleted() {
    let lab = alone();
    let disk = lab.create(GIB);
    lab.sim.rename_image(&lab.image_name(&disk), "vm-db");
    delete(&lab, &disk);
    assert_eq!(pending(&lab)[0].kind, Kind::Trashed);
    let refused = lab.run(A, |sr| sr.delete_sr());
    assert!(matches!(refused, Err(Error::SrNotEmpty { trashed: 1, .. })));
    assert_eq!(reclaim(&lab), 0);
    assert!(is_empty(&lab));
    assert_eq!(lab.keys("trash."), [""; 0]);
}

#[test]
fn an_image_that_was_restored_from_the_trash_is_not_purged() {
    let lab = alone();
    let id = deleted(&lab);
    lab.sim.restore_from_trash(&id);
    let warnings = lab.scan(A).unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.contains("it was not changed")),
        "{warnings:?}"
    );
    assert_eq!(lab.keys("trash."), [""; 0]);
    let name = lab.sim.snapshot().images.into_keys().next().unwrap();
    lab.sim.move_to_trash(&name);
    let_all_purge(&lab);
    assert_eq!(trash(&lab), [id]);
}

#[test]
fn the_mark_goes_when_the_manager_has_freed_the_image() {
    let lab = Lab::new();
    let id = deleted(&lab);
    assert_eq!(lab.keys("trash."), [format!("trash.{id}")]);
    lab.sim.run_manager();
    lab.scan(A).unwrap();
    assert_eq!(lab.keys("trash."), [""; 0]);
}

/// Runs `act` on a deleted disk's image repeatedly. Each time a record that names the image is added to the
/// catalogue before another call. Only a record that is added between the last read and the call that purges,
/// or requests the purge, is too late.
fn check_last_look(call: &str, has_manager: bool, act: &dyn Fn(&sr_ceph::CephSr<'_>)) {
    let new = || {
        let lab = alone();
        let id = deleted(&lab);
        lab.sim.set_manager(has_manager);
        (lab, id)
    };
    let calls = {
        let (lab, _) = new();
        let (process, faults) = (lab.process(A), Faults::none());
        let pool = FaultyPool::new(&process.pool, &faults);
        act(&ceph_sr(&pool, &process.host, lab.sr));
        faults.calls()
    };
    let mut late = BTreeSet::new();
    let mut purging = BTreeSet::new();
    for nth in 0..calls {
        let (lab, _) = new();
        let process = lab.process(A);
        let (calls, mode) = (Calls::All, Mode::Fails(libc::EIO));
        let faults = Faults::plan(Plan { calls, nth, mode });
        let pool = FaultyPool::new(&process.pool, &faults);
        act(&ceph_sr(&pool, &process.host, lab.sr));
        if faults.hit() == Some(call) {
            purging.insert(nth);
        }

        let (lab, id) = new();
        let other = lab.clone();
        let name = move || {
            put_vdi(&other, |record| record["volume"]["image"]["id"] = id.into());
        };
        let process = lab.process(A);
        let faults = Faults::interrupted(nth, name);
        let pool = FaultyPool::new(&process.pool, &faults);
        act(&ceph_sr(&pool, &process.host, lab.sr));
        if !lab.sim.wrong_purges().is_empty() {
            late.insert(nth);
        }
    }
    assert_eq!(purging.len(), 1, "{call} is made once");
    assert_eq!(late, purging);
}

#[test]
fn reclaim_looks_again_right_before_it_purges() {
    check_last_look("purge", false, &|sr| {
        let _left = sr.reclaim(|_, _| {});
    });
}

#[test]
fn a_scan_looks_again_right_before_it_asks_the_manager() {
    check_last_look("schedule_purge", true, &|sr| {
        let _scan = sr.scan(&[]);
    });
}

#[test]
fn a_refusal_to_destroy_an_sr_names_what_is_still_to_be_freed() {
    let lab = alone();
    let small = lab.create(16 << 20);
    let (name, id) = (lab.image_name(&small), lab.image_id(&small));
    delete(&lab, &small);
    let refused = lab.run(A, |sr| sr.delete_sr()).unwrap_err().to_string();
    let named = format!("Still to be freed: {name} (id {id}, 16 MiB)");
    assert!(refused.contains(&named), "{refused}");
}

#[test]
fn the_smallest_images_are_freed_first() {
    let lab = alone();
    let sizes = [3 * GIB, GIB, 2 * GIB];
    let disks = sizes.map(|size| lab.create(size));
    let names = disks.map(|disk| lab.image_name(&disk));
    disks.iter().for_each(|disk| delete(&lab, disk));
    let mut freed = Vec::new();
    lab.run(A, |sr| {
        sr.reclaim(|pending, report| {
            if let Report::Done = report {
                freed.push(pending.image.name.clone());
            }
        })
    })
    .unwrap();
    assert_eq!(freed, [&names[1], &names[2], &names[0]].map(String::clone));
}
