//! What must hold after an operation, however it ended.

use std::collections::BTreeSet;

use sr_ceph::record::VdiRecord;
use sr_ceph::Error;
use uuid::Uuid;

use super::super::{named, A, B, C, GIB};
use super::{Operation, Scene, Setting, BYSTANDER_CONTENT, CLONED, FIRST, GROWN, SECOND};

impl Scene {
    /// What a caller who was told of success may count on.
    pub fn check_success(&self, operation: Operation) {
        let lab = &self.lab;
        let record = lab.record(&self.vdi);
        let shown = |host, vdi: &Uuid| {
            let volume = lab.record(vdi).unwrap().volume;
            let snapshot = volume.snapshot().map(|s| s.id);
            let mut devices = lab.world.devices(host).into_iter();
            devices.any(|d| d.key.image_id == volume.image().id && d.key.snap_id == snapshot)
        };
        match operation {
            Operation::AttachSr | Operation::Scan => {}
            Operation::DeclareDead => self.check_cut_off(),
            Operation::Create => {
                let created = lab.record(&self.created).unwrap();
                assert_eq!((created.size, created.xapi), (GIB, named("disk")));
            }
            Operation::Delete => assert_eq!(record, None),
            Operation::DeleteSnapshot => assert_eq!(lab.record(&self.snapshot), None),
            Operation::DeleteClone => assert_eq!(lab.record(&self.clone), None),
            Operation::Resize => assert_eq!(record.unwrap().size, 2 * GIB),
            Operation::Activate => {
                assert_eq!(record.unwrap().claim.unwrap().owner.host, A);
                assert!(shown(A, &self.vdi));
            }
            Operation::Deactivate => {
                assert_eq!(record.unwrap().claim, None);
                self.check_unmapped();
            }
            Operation::ActivateSnapshot => assert!(shown(A, &self.snapshot)),
            Operation::DeactivateSnapshot => assert!(!shown(A, &self.snapshot)),
            Operation::Rename => assert_eq!(record.unwrap().xapi.name_label, "renamed"),
            Operation::Revert => {
                assert_eq!(lab.content(&self.vdi), Some(FIRST));
                assert_eq!(record.unwrap().size, GIB, "the snapshot's size");
            }
            Operation::Snapshot => self.check_copy(&self.vdi, false),
            Operation::SnapshotOfSnapshot => self.check_copy(&self.snapshot, false),
            Operation::CloneOfSnapshot => self.check_copy(&self.snapshot, true),
            Operation::CloneOfDisk => self.check_copy(&self.vdi, true),
            Operation::CloneOfClone => self.check_copy(&self.clone, true),
        }
    }

    /// What a deactivation promises although a call to the cluster failed: only the claim may stay.
    pub fn check_unmapped(&self) {
        assert!(self.lab.world.devices(A).is_empty());
    }

    fn check_copy(&self, source: &Uuid, cloned: bool) {
        let (copy, of) = (self.lab.record(&self.created), self.lab.record(source));
        let (copy, of) = (copy.unwrap(), of.unwrap());
        assert_eq!(copy.size, of.size);
        assert_eq!(copy.xapi.name_label, "disk");
        assert_eq!(copy.xapi.is_a_snapshot, !cloned);
        assert_eq!(copy.volume.snapshot().is_none(), cloned);
        assert_eq!(copy.depth, of.depth + u32::from(cloned));
        let contents = [&self.created, source].map(|vdi| self.lab.content(vdi));
        assert_eq!(contents[0], contents[1], "not what it was copied from");
    }

    /// Host C, if it goes on now, cannot write to the disk any more.
    fn check_cut_off(&self) {
        let world = &self.lab.world;
        world.thaw(C);
        for mapped in world.devices(C) {
            assert!(world.write(C, &mapped.device, 0).is_err(), "host C writes");
        }
        world.freeze(C);
    }

    /// At no moment do two hosts have a disk mapped for writing.
    pub fn check_writers(&self) {
        let all = self.lab.world.all_devices();
        let written = |host: &str| -> BTreeSet<_> {
            let devices = all[host].iter().filter(|(_, read_only)| !read_only);
            devices.map(|(key, _)| key.image_id.clone()).collect()
        };
        if self.setting == Setting::Deceased && !written(A).is_empty() {
            self.check_cut_off();
        }
        let both: Vec<_> = written(A).intersection(&written(B)).cloned().collect();
        assert!(both.is_empty(), "two hosts write to {both:?}");
    }

    /// Once recovered: nothing is lost, nothing is leaked.
    pub fn check_clean(&self) {
        self.check_writers();
        self.check_pool();
        self.check_contents();
        self.check_bystander();
        assert!(self.lab.world.paused().is_empty(), "a disk stays paused");
        let left = self.left.borrow();
        for vdi in &left.removed {
            assert!(self.lab.record(vdi).is_some(), "{vdi} is not listed");
        }
        for vdi in &left.creating {
            assert_eq!(self.lab.record(vdi), None, "{vdi} came back");
        }
        for vdi in &left.disks {
            assert_eq!(self.lab.content(vdi), Some(0), "{vdi} is lost");
        }
    }

    /// What is in the pool, and what the catalogue says is there, are the same.
    fn check_pool(&self) {
        let lab = &self.lab;
        assert_eq!(lab.keys("op."), [""; 0], "operations are left");
        let pool = lab.world.snapshot();
        let mut images = pool.images.clone();
        let mut snapshots = pool.snapshots.clone();
        snapshots.retain(|(_, _, removed)| !removed);
        for (uuid, record) in self.records() {
            let image = record.volume.image();
            let found = pool.images.get(&image.name);
            if self.left.borrow().removed.contains(&uuid) {
                assert_eq!(found, None);
                continue;
            }
            assert_eq!(found, Some(&image.id), "lost: {uuid}");
            assert!(!record.xapi.name_label.is_empty(), "no name: {uuid}");
            match record.volume.snapshot() {
                None => {
                    images.remove(&image.name);
                    if let Some(base) = &record.base {
                        let current = base.epoch == record.epoch && record.claim.is_none();
                        assert!(
                            current,
                            "a base that no clone can be made of is left: {uuid}"
                        );
                        snapshots.remove(&(image.id.clone(), base.snapshot.id, false));
                    }
                    assert_eq!(pool.sizes[&image.id], record.size, "sizes differ: {uuid}");
                }
                Some(snapshot) => {
                    let found = (image.id.clone(), snapshot.id, false);
                    assert!(pool.snapshots.contains(&found), "lost: {uuid}");
                    snapshots.remove(&found);
                }
            }
        }
        for key in lab.keys("hidden.") {
            let id = &key["hidden.".len()..];
            let hidden = images.iter().find(|(_, image)| *image == id);
            let name = hidden.map(|(name, _)| name.clone());
            images.remove(&name.expect("what is hidden is an image that no VDI is the head of"));
            let needed = pool.snapshots.iter().any(|(image, ..)| image == id);
            assert!(needed, "nothing needs the hidden image {id}");
        }
        assert!(images.is_empty(), "images are left: {images:?}");
        assert!(snapshots.is_empty(), "snapshots are left: {snapshots:?}");
        assert_eq!(pool.trash, pool.scheduled, "nobody will free the trash");
        let marks = lab.keys("trash.").into_iter();
        let marks: BTreeSet<_> = marks.map(|key| key["trash.".len()..].to_owned()).collect();
        assert_eq!(pool.trash, marks, "the trash and its marks differ");
        self.check_purges();
    }

    /// At no moment is an image purged that a key of the catalogue names, and at none is an image in
    /// the trash that none has.
    pub fn check_purges(&self) {
        let lab = &self.lab;
        assert_eq!(lab.world.wrong_purges(), [""; 0], "purged, and still named");
        let pool = lab.world.snapshot();
        let entries = &pool.objects[&lab.catalogue()];
        for id in &pool.trash {
            let quoted = format!("\"id\":\"{id}\"");
            let mut values = entries.values();
            let known = values.any(|value| String::from_utf8_lossy(value).contains(&quoted));
            assert!(known, "nothing has the id of image {id} in the trash");
        }
    }

    fn records(&self) -> Vec<(Uuid, VdiRecord)> {
        let keys = self.lab.keys("vdi.");
        let uuids = keys.iter().map(|key| key["vdi.".len()..].parse().unwrap());
        uuids
            .map(|uuid| (uuid, self.lab.record(&uuid).unwrap()))
            .collect()
    }

    /// Every VDI that nobody asked to delete is there, and each holds what it is to hold: what it
    /// held, or what somebody asked for.
    fn check_contents(&self) {
        let attempted = self.attempted.borrow();
        let tried = |operation| attempted.contains(&operation);
        let expect = |vdi: &Uuid, there: bool, states: &[(u64, u64)]| {
            let Some(record) = self.lab.record(vdi) else {
                assert!(!there, "{vdi} is lost");
                return;
            };
            let state = (self.lab.content(vdi).unwrap(), record.size);
            assert!(states.contains(&state), "{state:?} is none of {states:?}");
        };
        let snapshot = (FIRST, GIB);
        let clone = (CLONED, GIB);
        let mut disk = vec![match self.setting {
            Setting::Family | Setting::Reading => (SECOND, GROWN),
            Setting::Reverted => (SECOND, GIB),
            _ => (FIRST, GIB),
        }];
        if tried(Operation::Revert) {
            disk.push(snapshot);
        }
        if tried(Operation::Resize) {
            disk.extend(
                disk.clone()
                    .into_iter()
                    .map(|(content, _)| (content, 2 * GIB)),
            );
        }
        let kept = |there, deletion| there && !tried(deletion);
        let setting = self.setting;
        expect(
            &self.vdi,
            kept(setting.has_disk(), Operation::Delete),
            &disk,
        );
        let there = kept(setting.has_snapshot(), Operation::DeleteSnapshot);
        expect(&self.snapshot, there, &[snapshot]);
        let there = kept(setting.has_clone(), Operation::DeleteClone);
        expect(&self.clone, there, &[clone]);
        let created = attempted.iter().find(|operation| operation.creates());
        let created = match created {
            None => vec![],
            Some(Operation::Create) => vec![(0, GIB)],
            Some(Operation::SnapshotOfSnapshot | Operation::CloneOfSnapshot) => vec![snapshot],
            Some(Operation::CloneOfClone) => vec![clone],
            Some(_) => disk,
        };
        expect(&self.created, false, &created);
    }

    fn check_bystander(&self) {
        let lab = &self.lab;
        let bystander = lab.record(&self.bystander).unwrap();
        assert_eq!((bystander.size, &bystander.xapi), (GIB, &named("disk")));
        assert_eq!(bystander.claim.unwrap().owner.host, B);
        let image = &bystander.volume.image().id;
        let devices = lab.world.devices(B).into_iter();
        assert_eq!(devices.filter(|d| d.key.image_id == *image).count(), 1);
        assert_eq!(lab.world.content(image), Some(BYSTANDER_CONTENT));
    }

    /// What is left over on this host after a crash, the host's next calls use or clean up.
    pub fn check_host(&self) {
        let lab = &self.lab;
        lab.run(A, |sr| sr.attach_sr()).unwrap();
        if lab.record(&self.vdi).is_some() {
            lab.deactivate(B, &self.vdi).unwrap();
            lab.activate(A, &self.vdi).unwrap();
            self.check_writers();
            for refused in [
                lab.activate(B, &self.vdi).map(|_| ()),
                lab.run(B, |sr| sr.delete_vdi(&self.vdi)),
            ] {
                assert!(
                    matches!(refused, Err(Error::VdiInUse { .. })),
                    "{refused:?}"
                );
            }
            lab.deactivate(A, &self.vdi).unwrap();
            assert_eq!(lab.record(&self.vdi).unwrap().claim, None);
        }
        assert!(lab.world.devices(A).is_empty(), "devices are left");
    }

    /// Everything else is deleted: the bystander is all there is in the pool.
    pub fn check_end(&self) {
        let lab = &self.lab;
        for (vdi, _) in self.records() {
            if vdi != self.bystander {
                lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
            }
        }
        lab.settle();
        let pool = lab.world.snapshot();
        let left: Vec<_> = pool.sizes.into_keys().collect();
        assert_eq!(left, [lab.image_id(&self.bystander)], "images are left");
        assert_eq!(pool.snapshots, BTreeSet::new(), "snapshots are left");
        assert_eq!(lab.keys("hidden."), [""; 0]);
    }
}
