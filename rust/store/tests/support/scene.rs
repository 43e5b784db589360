//! A running SR before an operation, and what must hold after it, however it ended.

use std::collections::BTreeSet;

use nix::libc;
use store::faults::{Calls, Faults, FaultyCluster, FaultyHost, Mode, Plan};
use store::{Error, Repository, Result};
use uuid::Uuid;

use super::{named, new_disk, repository, Lab, Process, A, B, GIB};

/// What the tests do to an SR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    AttachSr,
    Scan,
    Create,
    Delete,
    Resize,
    Activate,
    Deactivate,
    Rename,
    /// Of a disk that runs: it is paused for it.
    Snapshot,
    SnapshotOfSnapshot,
    CloneOfSnapshot,
    CloneOfDisk,
    /// Of a disk that a snapshot and a clone depend on.
    DeleteParent,
    /// Of a snapshot that a clone depends on, whose disk is gone.
    DeleteSnapshot,
}

impl Operation {
    pub const ALL: [Operation; 14] = [
        Operation::AttachSr,
        Operation::Scan,
        Operation::Create,
        Operation::Delete,
        Operation::Resize,
        Operation::Activate,
        Operation::Deactivate,
        Operation::Rename,
        Operation::Snapshot,
        Operation::SnapshotOfSnapshot,
        Operation::CloneOfSnapshot,
        Operation::CloneOfDisk,
        Operation::DeleteParent,
        Operation::DeleteSnapshot,
    ];

    /// Whether it is about a snapshot of the disk and a clone of that.
    pub fn needs_copies(self) -> bool {
        matches!(
            self,
            Operation::SnapshotOfSnapshot
                | Operation::CloneOfSnapshot
                | Operation::DeleteParent
                | Operation::DeleteSnapshot
        )
    }

    /// Whether it makes the VDI [`Scene::created`].
    pub fn creates(self) -> bool {
        matches!(
            self,
            Operation::Create
                | Operation::Snapshot
                | Operation::SnapshotOfSnapshot
                | Operation::CloneOfSnapshot
                | Operation::CloneOfDisk
        )
    }
}

/// An SR with a disk that operations are about, one that runs on host B all the time, and
/// what several dead processes left unfinished.
pub struct Scene {
    pub lab: Lab,
    pub vdi: Uuid,
    pub image_id: String,
    pub created: Uuid,
    /// A snapshot of `vdi`, and a clone of that, where the operation is about such.
    snapshot: Option<Uuid>,
    clone: Option<Uuid>,
    bystander: Uuid,
    left_growing: Uuid,
    left_deleting: Uuid,
    left_creating: Uuid,
}

pub const CONTENT: u64 = 7;
const BYSTANDER_CONTENT: u64 = 8;

impl Scene {
    pub fn new(operation: Operation) -> Self {
        let lab = Lab::new();
        let disk_with = |content, host| {
            let vdi = lab.create(GIB);
            let device = lab.activate(host, &vdi).unwrap().device;
            lab.world.write(host, &device, content).unwrap();
            vdi
        };
        let bystander = disk_with(BYSTANDER_CONTENT, B);
        let vdi = disk_with(CONTENT, A);
        if !matches!(operation, Operation::Deactivate | Operation::Snapshot) {
            lab.deactivate(A, &vdi).unwrap();
        }
        let snapshot = operation.needs_copies().then(|| lab.snapshot(&vdi));
        let clone = snapshot.map(|snapshot| lab.clone_of(&snapshot));
        let image_id = lab.image_id(&vdi);
        if operation == Operation::DeleteSnapshot {
            lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
        }
        let scene = Scene {
            vdi,
            image_id,
            snapshot,
            clone,
            created: Uuid::new_v4(),
            bystander,
            left_growing: lab.create(GIB),
            left_deleting: lab.create(GIB),
            left_creating: Uuid::new_v4(),
            lab,
        };
        if matches!(operation, Operation::Scan | Operation::AttachSr) {
            scene.leave_work();
        }
        scene
    }

    fn leave_work(&self) {
        let die = |nth, mode, act: &dyn Fn(Repository<'_>)| {
            let process = self.lab.process(A);
            let faults = Faults::plan(Plan {
                calls: Calls::Changes,
                nth,
                mode,
            });
            self.as_process(&process, &faults, act);
            assert!(faults.killed());
        };
        die(1, Mode::KilledInside, &|sr| {
            sr.create_disk(&new_disk(self.left_creating, GIB))
                .unwrap_err();
        });
        die(1, Mode::KilledBefore, &|sr| {
            sr.delete_vdi(&self.left_deleting).unwrap_err();
        });
        die(2, Mode::KilledBefore, &|sr| {
            sr.resize_vdi(&self.left_growing, i128::from(2 * GIB))
                .unwrap_err();
        });
        let removed = self.lab.create(GIB);
        self.lab.world.remove_image(&self.lab.image_name(&removed));
        let stale = self.lab.image_name(&self.left_growing);
        self.lab.world.map_by_hand(A, &stale).unwrap();
        self.lab.world.advance_seconds(super::LEASE_OVER);
    }

    /// Runs something as a process that then ends.
    pub fn as_process<'w, T>(
        &self,
        process: &'w Process,
        faults: &Faults<'w>,
        act: impl FnOnce(Repository<'_>) -> T,
    ) -> T {
        use store::host::Host;
        let cluster = FaultyCluster::new(&process.cluster, faults);
        let host = FaultyHost::new(&process.host, faults);
        let result = act(repository(&cluster, &host, self.lab.sr));
        self.lab.world.kill(process.host.owner());
        result
    }

    pub fn perform(&self, operation: Operation, sr: &Repository<'_>) -> Result<()> {
        match operation {
            Operation::AttachSr => sr.attach_sr(),
            Operation::Scan => {
                let known = [self.lab.known(self.vdi, "disk")];
                let scan = sr.scan(&known)?;
                let listed: BTreeSet<Uuid> = scan.vdis.iter().map(|v| v.uuid).collect();
                assert!(listed.contains(&self.bystander), "a scan forgot a VDI");
                Ok(())
            }
            Operation::Create => sr.create_disk(&new_disk(self.created, GIB)).map(|_| ()),
            Operation::Delete => sr.delete_vdi(&self.vdi),
            Operation::Resize => sr.resize_vdi(&self.vdi, i128::from(2 * GIB)).map(|_| ()),
            Operation::Activate => sr.activate_vdi(&self.vdi, true).map(|_| ()),
            Operation::Deactivate => sr.deactivate_vdi(&self.vdi),
            Operation::Rename => sr.update_vdi(&self.lab.known(self.vdi, "renamed")),
            Operation::Snapshot => sr.snapshot_vdi(&self.vdi, &self.created).map(|_| ()),
            Operation::SnapshotOfSnapshot => {
                let snapshot = self.snapshot.unwrap();
                sr.snapshot_vdi(&snapshot, &self.created).map(|_| ())
            }
            Operation::CloneOfSnapshot => {
                let snapshot = self.snapshot.unwrap();
                sr.clone_vdi(&snapshot, &self.created).map(|_| ())
            }
            Operation::CloneOfDisk => sr.clone_vdi(&self.vdi, &self.created).map(|_| ()),
            Operation::DeleteParent => sr.delete_vdi(&self.vdi),
            Operation::DeleteSnapshot => sr.delete_vdi(&self.snapshot.unwrap()),
        }
    }

    /// What a caller who was told of success may count on.
    pub fn check_success(&self, operation: Operation) {
        let record = self.lab.record(&self.vdi);
        match operation {
            Operation::AttachSr | Operation::Scan => {}
            Operation::Create => {
                let created = self.lab.record(&self.created).unwrap();
                assert_eq!((created.size, created.xapi), (GIB, named("disk")));
            }
            Operation::Delete => assert_eq!(record, None),
            Operation::Resize => assert_eq!(record.unwrap().size, 2 * GIB),
            Operation::Activate => {
                assert_eq!(record.unwrap().claim.unwrap().owner.host, A);
                let devices = self.lab.world.devices(A);
                assert!(devices.iter().any(|d| d.key.image_id == self.image_id));
            }
            Operation::Deactivate => {
                assert_eq!(record.unwrap().claim, None);
                assert!(self.lab.world.devices(A).is_empty());
            }
            Operation::Rename => assert_eq!(record.unwrap().xapi.name_label, "renamed"),
            Operation::Snapshot
            | Operation::SnapshotOfSnapshot
            | Operation::CloneOfSnapshot
            | Operation::CloneOfDisk => {
                let created = self.lab.record(&self.created).unwrap();
                assert_eq!(created.size, GIB);
                assert_eq!(created.xapi.name_label, "disk");
                let clones = [Operation::CloneOfSnapshot, Operation::CloneOfDisk];
                let cloned = clones.contains(&operation);
                assert_eq!(created.volume.snapshot().is_none(), cloned);
                assert_eq!(created.depth, u32::from(cloned));
            }
            Operation::DeleteParent => assert_eq!(record, None),
            Operation::DeleteSnapshot => {
                assert_eq!(self.lab.record(&self.snapshot.unwrap()), None);
            }
        }
    }

    /// At no moment do two hosts have a disk mapped for writing.
    pub fn check_writers(&self) {
        let all = self.lab.world.all_devices();
        let written = |host: &str| -> BTreeSet<_> {
            let devices = all[host].iter().filter(|(_, read_only)| !read_only);
            devices.map(|(key, _)| key.image_id.clone()).collect()
        };
        let both: Vec<_> = written(A).intersection(&written(B)).cloned().collect();
        assert!(both.is_empty(), "two hosts write to {both:?}");
    }

    /// Once recovered: nothing is lost, nothing is leaked.
    pub fn check_clean(&self) {
        self.check_writers();
        let lab = &self.lab;
        assert_eq!(lab.keys("op."), [""; 0], "operations are left");
        let pool = lab.world.snapshot();
        let mut images = pool.images.clone();
        let mut snapshots = pool.snapshots.clone();
        snapshots.retain(|(_, _, removed)| !removed);
        for key in lab.keys("vdi.") {
            let uuid = key["vdi.".len()..].parse().unwrap();
            let record = lab.record(&uuid).unwrap();
            let image = record.volume.image();
            assert_eq!(
                pool.images.get(&image.name),
                Some(&image.id),
                "lost: {uuid}"
            );
            assert!(!record.xapi.name_label.is_empty(), "no name: {uuid}");
            if let Some(base) = &record.base {
                let found = (image.id.clone(), base.snapshot.id, false);
                assert!(record.claim.is_some() || snapshots.contains(&found));
                snapshots.remove(&found);
            }
            match record.volume.snapshot() {
                None => {
                    images.remove(&image.name);
                    assert_eq!(pool.sizes[&image.id], record.size, "sizes differ: {uuid}");
                }
                Some(snapshot) => {
                    let found = (image.id.clone(), snapshot.id, false);
                    assert!(pool.snapshots.contains(&found), "lost: {uuid}");
                    snapshots.remove(&found);
                }
            }
        }
        let hidden = lab.keys("hidden.");
        images.retain(|_, id| !hidden.contains(&format!("hidden.{id}")));
        assert!(images.is_empty(), "images are left: {images:?}");
        assert!(snapshots.is_empty(), "snapshots are left: {snapshots:?}");
        assert!(lab.world.paused().is_empty(), "a disk stays paused");
        for copy in [self.snapshot, self.clone, Some(self.created)] {
            let content = copy.and_then(|copy| lab.content(&copy));
            let from_nothing = Some(0); // a disk that was made, not copied
            assert!([None, Some(CONTENT), from_nothing].contains(&content));
        }
        if let Some(clone) = self.clone {
            assert_eq!(lab.content(&clone), Some(CONTENT));
        }
        assert_eq!(pool.trash, pool.scheduled, "nobody will free the trash");
        let bystander = lab.record(&self.bystander).unwrap();
        assert_eq!((bystander.size, &bystander.xapi), (GIB, &named("disk")));
        assert_eq!(bystander.claim.unwrap().owner.host, B);
        assert_eq!(
            lab.world
                .devices(B)
                .iter()
                .filter(|d| d.key.image_id == bystander.volume.image().id)
                .count(),
            1
        );
        assert_eq!(
            lab.world.content(&bystander.volume.image().id),
            Some(BYSTANDER_CONTENT)
        );
        if lab.record(&self.vdi).is_some() {
            assert_eq!(lab.world.content(&self.image_id), Some(CONTENT));
        }
        for gone in [&self.left_deleting, &self.left_creating] {
            let done = lab.record(gone).is_none() || *gone == self.left_deleting;
            assert!(done, "{gone} came back");
        }
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
}

/// Every way in which the nth call can go wrong without ending the process's life.
pub const READ_FAULTS: [Mode; 2] = [Mode::Fails(libc::EIO), Mode::Fails(libc::ETIMEDOUT)];
