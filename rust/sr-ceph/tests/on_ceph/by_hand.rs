//! Changes to images out of band, with the command `rbd`. The commands that the driver prints are run as they are
//! printed.

use std::process::Command;
use std::time::Instant;

use sr_ceph::pool::Inspection;
use sr_ceph::sr::reclaim::Report;
use uuid::Uuid;

use super::lab::{Lab, A, B, FREED, MIB, SIZE};

/// Runs `rbd` as the cluster's administrator. Returns its output.
pub fn rbd(words: &[&str]) -> String {
    let conf = std::env::var("SMBLOCK_TEST_CEPH_CONF").unwrap();
    let admin = std::env::var("SMBLOCK_TEST_CEPH_ADMIN").unwrap_or_else(|_| "admin".to_owned());
    let mut command = Command::new("timeout");
    command.args(["60", "rbd", "--conf", &conf, "--id", &admin]);
    let done = command.args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "rbd {words:?}: {errors}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Returns the quoted commands in a text that begin with `start`.
fn printed(text: &str, start: &str) -> Vec<String> {
    let quoted = text.split('\'').skip(1).step_by(2);
    let commands: Vec<_> = quoted.filter(|word| word.starts_with(start)).collect();
    assert!(!commands.is_empty(), "{start:?} is not in: {text}");
    commands.into_iter().map(str::to_owned).collect()
}

/// Runs the quoted commands in a text that begin with `start`.
fn type_in(text: &str, start: &str) {
    for command in printed(text, start) {
        let words: Vec<_> = command.split(' ').skip(1).collect();
        rbd(&words);
    }
}

impl Lab {
    /// `POOL/IMAGE` of a VDI.
    pub fn path(&self, vdi: &Uuid) -> String {
        let record = self.record(vdi).unwrap();
        format!("{}/{}", self.pool(), record.volume.image().name)
    }

    fn refused<T: std::fmt::Debug>(
        &self,
        command: impl FnOnce(&sr_ceph::CephSr<'_>) -> sr_ceph::Result<T>,
    ) -> String {
        self.run(A, command).unwrap_err().to_string()
    }

    /// Reclaims everything that can be freed. Returns the images that wait, with the reasons.
    fn waits(&self) -> String {
        let mut waits = String::new();
        self.run(B, |sr| {
            sr.reclaim(|pending, report| {
                if let Report::Waits = report {
                    let waits_for = pending.waits_for.as_ref().unwrap();
                    waits += &waits_for.to_string();
                }
            })
        })
        .unwrap();
        waits
    }

    pub fn delete(&self, vdi: &Uuid) {
        self.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
    }

    /// Deletes a snapshot that is older than a flatten, when Ceph has freed its deleted clones.
    fn delete_after_clones(&self, snapshot: &Uuid) {
        let end = Instant::now() + FREED;
        while let Err(error) = self.run(A, |sr| sr.delete_vdi(snapshot)) {
            let text = error.to_string();
            assert!(text.contains("until its space is free"), "{text}");
            assert!(Instant::now() < end, "{text}");
            std::thread::sleep(FREED / 600);
        }
    }
}

#[test]
fn members_of_groups_are_freed_and_leave_them() {
    let Some(lab) = Lab::connect() else { return };
    let group = format!("{}/g-{}", lab.pool(), Uuid::new_v4());
    rbd(&["group", "create", &group]);
    let disk = lab.disk("member", &[1, 2, 3]);
    rbd(&["group", "image", "add", &group, &lab.path(&disk)]);
    lab.delete(&disk);

    // An image in the trash that was added to a group by hand.
    let trashed = lab.disk("trashed", &[1, 2, 3]);
    let (path, snapshot) = (lab.path(&trashed), lab.snapshot(&trashed));
    lab.delete(&trashed);
    rbd(&["group", "image", "add", &group, &path]);
    lab.delete(&snapshot);
    lab.end();
    assert_eq!(rbd(&["group", "image", "ls", &group]), "");
    rbd(&["group", "rm", &group]);
}

#[test]
fn the_printed_commands_remove_snapshots_of_groups_and_mirrors() {
    let Some(lab) = Lab::connect() else { return };
    let group = format!("{}/g-{}", lab.pool(), Uuid::new_v4());
    let disk = lab.disk("backed up", &[1, 2, 3]);
    let path = lab.path(&disk);
    rbd(&["group", "create", &group]);
    rbd(&["group", "image", "add", &group, &path]);
    rbd(&["group", "snap", "create", &format!("{group}@monday")]);
    rbd(&["mirror", "pool", "enable", lab.pool(), "image"]);
    rbd(&["mirror", "image", "enable", &path, "snapshot"]);
    rbd(&["snap", "create", &format!("{path}@own")]);
    rbd(&["snap", "protect", &format!("{path}@own")]);
    lab.delete(&disk);
    let waits = lab.waits();
    for start in [
        "rbd group snap rm",
        "rbd mirror image disable",
        "rbd snap unprotect",
        "rbd snap rm",
    ] {
        type_in(&waits, start);
    }
    lab.end();
    rbd(&[
        "mirror",
        "pool",
        "disable",
        &path[..path.find('/').unwrap()],
    ]);
    rbd(&["group", "rm", &group]);
}

/// Ceph detaches a flattened image from its parent when such a snapshot is removed.
#[test]
fn a_snapshot_older_than_a_flatten_is_refused_while_it_has_clones() {
    let Some(lab) = Lab::connect() else { return };
    let golden = lab.disk("golden", &[1, 2, 3]);
    let disk = lab.clone_of(&lab.snapshot(&golden));
    let snapshot = lab.snapshot(&disk);
    rbd(&["flatten", "--no-progress", &lab.path(&disk)]);
    let clone = lab.clone_of(&snapshot);
    let refused = lab.prepare(|sr| sr.delete_vdi(&snapshot)).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("older than a flatten"), "{refused}");
    assert!(lab.record(&snapshot).is_some(), "nothing was changed");
    rbd(&["flatten", "--no-progress", &lab.path(&clone)]);
    lab.delete(&snapshot);
    lab.delete(&disk);
}

/// The snapshot that a disk's clones are made of is one too.
#[test]
fn a_disk_whose_base_is_older_than_a_flatten_is_not_stuck() {
    let Some(lab) = Lab::connect() else { return };
    let golden = lab.disk("golden", &[1, 2, 3]);
    let disk = lab.clone_of(&golden);
    let clone = lab.clone_of(&disk);
    rbd(&["flatten", "--no-progress", &lab.path(&disk)]);
    let snapshot = lab.snapshot(&disk);
    let before = lab.catalogue();
    let refused = lab.refused(|sr| sr.revert_vdi(&disk, &snapshot));
    assert!(refused.contains("older than a flatten"), "{refused}");
    assert_eq!(lab.catalogue(), before);
    lab.fill(&disk, &[4, 5, 6]);
    let second = lab.clone_of(&disk);
    let scan = lab.run(B, |sr| sr.scan(&[])).unwrap();
    assert_eq!(scan.warnings, [""; 0]);
    assert_eq!(lab.content(&second), [4, 5, 6]);
    assert_eq!(lab.content(&clone), [1, 2, 3]);

    rbd(&["flatten", "--no-progress", &lab.path(&clone)]);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    assert_eq!(lab.content(&disk), [1, 2, 3]);
    for vdi in [&second, &clone, &snapshot, &disk, &golden] {
        lab.delete(vdi);
    }
    lab.end();
}

/// The reclaim worker empties the head of a deleted disk whose snapshots are needed.
#[test]
fn the_same_is_refused_after_the_disk_was_deleted_and_emptied() {
    for flattened in [true, false] {
        let Some(lab) = Lab::connect() else { return };
        let golden = lab.disk("golden", &[1, 2, 3]);
        let of_golden = lab.snapshot(&golden);
        let disk = lab.clone_of(&of_golden);
        let image = lab.record(&disk).unwrap().volume.image().clone();
        let snapshot = lab.snapshot(&disk);
        let clone = lab.clone_of(&snapshot);
        if flattened {
            rbd(&["flatten", "--no-progress", &lab.path(&disk)]);
        }
        lab.delete(&disk);
        lab.run(B, |sr| sr.reclaim(|_, _| {})).unwrap();
        assert_eq!(lab.observer.size(&image.id).unwrap(), 0, "not emptied");
        let deleted = lab.prepare(|sr| sr.delete_vdi(&snapshot));
        if flattened {
            let refused = deleted.unwrap_err().to_string();
            assert!(refused.contains("older than a flatten"), "{refused}");
            assert!(lab.record(&snapshot).is_some(), "nothing was changed");
        } else {
            deleted.unwrap();
        }
        for vdi in [&of_golden, &golden] {
            lab.delete(vdi);
        }
        lab.run(B, |sr| sr.reclaim(|_, _| {})).unwrap();
        assert_eq!(lab.content(&clone), [1, 2, 3]);
        lab.delete(&clone);
        if flattened {
            lab.delete_after_clones(&snapshot);
        }
        lab.end();
    }
}

#[test]
fn a_migrated_disk_keeps_its_snapshots_and_its_content() {
    let Some(lab) = Lab::connect() else { return };
    let disk = lab.disk("migrated", &[1, 2, 3]);
    let snapshot = lab.snapshot(&disk);
    lab.fill(&disk, &[4, 5, 6]);
    let path = lab.path(&disk);
    let id = lab.record(&disk).unwrap().volume.image().id.clone();
    rbd(&["migration", "prepare", "--object-size", "8M", &path, &path]);
    let new = Uuid::new_v4();
    for refusal in [
        lab.refused(|sr| sr.activate_vdi(&disk, true)),
        lab.refused(|sr| sr.activate_vdi(&snapshot, false)),
        lab.refused(|sr| sr.snapshot_vdi(&disk, &new)),
        lab.refused(|sr| sr.clone_vdi(&disk, &new)),
        lab.refused(|sr| sr.resize_vdi(&disk, i128::from(2 * SIZE))),
        lab.refused(|sr| sr.delete_vdi(&disk)),
    ] {
        printed(&refusal, "rbd migration abort");
    }
    let scan = lab.run(B, |sr| sr.scan(&[])).unwrap();
    assert_eq!(scan.vdis.len(), 2);
    let warnings = scan.warnings.concat();
    printed(&lab.waits(), "rbd migration commit");
    let restart = warnings.rfind("VDI").unwrap(); // one of the two warnings
    type_in(&warnings[restart..], "rbd migration execute");
    type_in(&warnings[restart..], "rbd migration commit");

    assert_eq!(lab.run(B, |sr| sr.scan(&[])).unwrap().vdis.len(), 2);
    assert_ne!(lab.record(&disk).unwrap().volume.image().id, id);
    assert_eq!(lab.content(&disk), [4, 5, 6]);
    assert_eq!(lab.content(&snapshot), [1, 2, 3]);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    assert_eq!(lab.content(&disk), [1, 2, 3]);
    lab.run(B, |sr| sr.scan(&[])).unwrap();
    lab.check_clean();
    lab.delete(&disk);
    lab.delete(&snapshot);
    lab.end();
}

#[test]
fn limits_protection_and_sizes_are_refused_with_the_command_to_undo_them() {
    let Some(lab) = Lab::connect() else { return };
    let disk = lab.disk("treated", &[1, 2, 3]);
    let path = lab.path(&disk);
    let new = Uuid::new_v4();
    let snapshot = lab.snapshot(&disk);
    rbd(&["snap", "limit", "set", &path, "--limit", "1"]);
    let refusal = lab.refused(|sr| sr.snapshot_vdi(&disk, &new));
    type_in(&refusal, "rbd snap limit clear");
    let second = lab.snapshot(&disk);
    lab.delete(&second);

    rbd(&["snap", "protect", &format!("{path}@{snapshot}")]);
    let refusal = lab.refused(|sr| sr.delete_vdi(&snapshot));
    type_in(&refusal, "rbd snap unprotect");
    lab.delete(&snapshot);

    let size = format!("{}M", (SIZE - 4 * MIB) / MIB);
    rbd(&["resize", "--allow-shrink", "--size", &size, &path]);
    let refusal = lab.refused(|sr| sr.resize_vdi(&disk, i128::from(2 * SIZE)));
    let warnings = lab.run(B, |sr| sr.scan(&[])).unwrap().warnings.concat();
    assert_eq!(
        printed(&warnings, "rbd resize"),
        printed(&refusal, "rbd resize")
    );
    type_in(&refusal, "rbd resize");

    rbd(&["resize", "--size", &format!("{}M", 2 * SIZE / MIB), &path]);
    lab.run(B, |sr| sr.scan(&[])).unwrap();
    assert_eq!(lab.record(&disk).unwrap().size, 2 * SIZE);
    lab.check_clean();
    lab.delete(&disk);
    lab.end();
}
