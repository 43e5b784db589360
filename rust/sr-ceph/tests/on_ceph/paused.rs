//! What the kernel of a running disk meets when the disk is resumed after its snapshot.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use sr::engine::Together;
use uuid::Uuid;

use super::by_hand::rbd;
use super::lab::Lab;

/// The kernel asks the owner of the lock for it. If the owner closes the image meanwhile, the kernel waits for 10 s, and
/// the disk's I/O with it (Linux: drivers/block/rbd.c, rbd_acquire_lock, `2 * RBD_NOTIFY_TIMEOUT`).
#[test]
fn no_client_has_the_image_of_a_disk_that_is_resumed() {
    let Some(lab) = Lab::connect() else { return };
    let disks = [lab.disk("one", &[1, 2, 3]), lab.disk("two", &[1, 2, 3])];
    for disk in &disks {
        lab.prepare(|sr| sr.activate_vdi(disk, true)).unwrap();
    }
    let paths: HashMap<Uuid, String> = disks.iter().map(|it| (*it, lab.path(it))).collect();
    let statuses = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&statuses);
    lab.hosts.at_resume(move |vdi| {
        // Each client that has an image open for writing watches it.
        let status = rbd(&["status", &paths[vdi]]);
        seen.borrow_mut().push(status.trim().to_owned());
    });
    let alone = lab.snapshot(&disks[0]);
    let together = Together {
        task: "OpaqueRef:task".to_owned(),
        siblings: vec![disks[1]],
    };
    let of_both = Uuid::new_v4();
    lab.prepare(|sr| sr.snapshot_vdi_with(&disks[0], &of_both, &together))
        .unwrap();
    assert_eq!(*statuses.borrow(), ["Watchers: none"; 3]);

    lab.prepare(|sr| sr.scan(&[])).unwrap(); // the task is over: what is not adopted is removed
    for vdi in [&alone, &of_both] {
        lab.delete(vdi);
    }
    for disk in &disks {
        lab.prepare(|sr| sr.deactivate_vdi(disk)).unwrap();
        lab.delete(disk);
    }
    lab.end();
}
