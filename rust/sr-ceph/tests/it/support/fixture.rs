//! An SR before an operation, and the checks after it, for any outcome.

mod checks;
mod operation;

use std::cell::RefCell;
use std::collections::BTreeSet;

use nix::libc;
use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
use sr_ceph::{CephSr, Result};
use uuid::Uuid;

use super::{ceph_sr, new_disk, Lab, Process, A, B, C, GIB};

pub use operation::{Operation, Setting};

/// The disk's content when its snapshot was taken.
const FIRST: u64 = 7;
/// Its present content.
const SECOND: u64 = 9;
/// The content of its clone.
const CLONED: u64 = 5;
const BYSTANDER_CONTENT: u64 = 8;
/// The disk's size since its snapshot was taken, in bytes.
const GROWN: u64 = GIB + GIB / 2;

/// An SR with a disk for the operations, a disk that always runs on host B, and, in some settings, what dead
/// processes left unfinished.
pub struct Fixture {
    pub lab: Lab,
    pub setting: Setting,
    pub vdi: Uuid,
    /// The VDI that operations make.
    pub created: Uuid,
    /// A snapshot of `vdi`, and a clone of that, in the settings that have them.
    pub snapshot: Uuid,
    pub clone: Uuid,
    bystander: Uuid,
    left: RefCell<Left>,
    /// The operations that were started, with any outcome.
    attempted: RefCell<Vec<Operation>>,
}

/// The disks of dead processes.
#[derive(Default)]
struct Left {
    /// Their images were removed by hand. Each stays listed.
    removed: Vec<Uuid>,
    /// Existed, and must not change.
    disks: Vec<Uuid>,
    /// Did not exist, and must not appear.
    creating: Vec<Uuid>,
}

impl Fixture {
    pub fn new(setting: Setting) -> Self {
        Fixture::with_kernels(setting, false)
    }

    /// On kernels that watch what they read, or on newer ones.
    pub fn with_kernels(setting: Setting, old: bool) -> Self {
        let lab = Lab::new();
        for host in [A, B] {
            lab.sim.set_old_kernel(host, old);
        }
        let bystander = lab.create(GIB);
        let device = lab.activate(B, &bystander).unwrap().device;
        lab.sim.write(B, &device, BYSTANDER_CONTENT).unwrap();
        let vdi = lab.create(GIB);
        lab.write(&vdi, FIRST);
        let mut fixture = Fixture {
            lab,
            setting,
            vdi,
            created: Uuid::new_v4(),
            snapshot: Uuid::new_v4(),
            clone: Uuid::new_v4(),
            bystander,
            left: RefCell::default(),
            attempted: RefCell::default(),
        };
        fixture.prepare();
        fixture
    }

    fn prepare(&mut self) {
        let (lab, vdi) = (&self.lab, self.vdi);
        let delete = |vdi: &Uuid| lab.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
        if self.setting.has_snapshot() || self.setting.has_clone() {
            if self.setting.is_tracked() {
                lab.run(A, |sr| sr.track_changes(&vdi, true)).unwrap();
            }
            self.snapshot = lab.snapshot(&vdi);
            if self.setting != Setting::LoneSnapshot {
                self.clone = lab.clone_of(&self.snapshot);
                lab.write(&self.clone, CLONED);
            }
            lab.write(&vdi, SECOND);
            let grow = |sr: CephSr<'_>| sr.resize_vdi(&vdi, i128::from(GROWN));
            lab.run(A, grow).unwrap();
        }
        match self.setting {
            Setting::Disk | Setting::Family | Setting::Tracked => {}
            Setting::Deceased => {
                let device = lab.activate(C, &vdi).unwrap().device;
                lab.sim.write(C, &device, FIRST).unwrap();
                lab.sim.freeze(C);
                lab.sim.declare_dead(C, true);
            }
            Setting::Rebooted => {
                lab.activate(A, &vdi).unwrap();
                lab.sim.reboot(A);
            }
            Setting::Running => drop(lab.activate(A, &vdi).unwrap()),
            Setting::Reading => {
                let attach = |sr: CephSr<'_>| sr.activate_vdi(&self.snapshot, false);
                lab.run(A, attach).unwrap();
            }
            Setting::Reverted | Setting::TrackedReverted => {
                let revert = |sr: CephSr<'_>| sr.revert_vdi(&vdi, &self.snapshot);
                lab.run(A, revert).unwrap();
                lab.write(&vdi, SECOND);
            }
            Setting::Orphans | Setting::LoneSnapshot => delete(&vdi),
            Setting::LoneClone => {
                delete(&vdi);
                delete(&self.snapshot);
            }
            Setting::Unfinished => self.leave_disks(),
            Setting::UnfinishedCopies => self.leave_copies(),
        }
        lab.sim.run_manager();
    }

    /// Runs a command whose process dies at its nth change.
    fn die(&self, nth: usize, mode: Mode, act: &dyn Fn(&CephSr<'_>) -> Result<()>) {
        let process = self.lab.process(A);
        let calls = Calls::Changes;
        let faults = Faults::plan(Plan { calls, nth, mode });
        self.as_process(&process, &faults, |sr| act(&sr).unwrap_err());
        assert!(faults.killed());
    }

    fn leave_disks(&self) {
        let lab = &self.lab;
        let (growing, deleting) = (lab.create(GIB), lab.create(GIB));
        let creating = Uuid::new_v4();
        self.die(1, Mode::KilledInside, &|sr| {
            sr.create_disk(&new_disk(creating, GIB)).map(drop)
        });
        self.die(1, Mode::KilledBefore, &|sr| sr.delete_vdi(&deleting));
        self.die(2, Mode::KilledBefore, &|sr| {
            sr.resize_vdi(&growing, i128::from(2 * GIB)).map(drop)
        });
        let removed = lab.create(GIB);
        lab.sim.remove_image(&lab.image_name(&removed));
        lab.sim.map_by_hand(A, &lab.image_name(&growing)).unwrap();
        lab.let_leases_end();
        *self.left.borrow_mut() = Left {
            removed: vec![removed],
            disks: vec![growing],
            creating: vec![creating],
        };
    }

    /// Leaves a snapshot whose disk is paused, a clone without its record, a revert that is not applied yet, and
    /// one that is.
    fn leave_copies(&self) {
        let lab = &self.lab;
        let disks = [(); 3].map(|()| lab.create(GIB));
        let snapshots = [lab.snapshot(&disks[1]), lab.snapshot(&disks[2])];
        let creating = [Uuid::new_v4(), Uuid::new_v4()];
        lab.activate(A, &disks[0]).unwrap();
        self.die(2, Mode::KilledAfter, &|sr| {
            sr.snapshot_vdi(&disks[0], &creating[0]).map(drop)
        });
        assert!(lab.sim.paused().contains(&disks[0]));
        lab.deactivate(A, &disks[0]).unwrap();
        self.die(3, Mode::KilledBefore, &|sr| {
            sr.clone_vdi(&self.vdi, &creating[1]).map(drop)
        });
        self.die(1, Mode::KilledAfter, &|sr| {
            sr.revert_vdi(&disks[1], &snapshots[0]).map(drop)
        });
        let process = lab.process(A);
        let plan = Plan {
            calls: Calls::Changes,
            nth: 3,
            mode: Mode::KilledBefore,
        };
        let faults = Faults::plan(plan);
        // At this point the disk is reverted, and the caller has the result.
        self.as_process(&process, &faults, |sr| {
            sr.revert_vdi(&disks[2], &snapshots[1]).unwrap();
        });
        assert!(faults.killed());
        assert_eq!(lab.keys("op.").len(), 5);
        lab.let_leases_end();
        let mut left = self.left.borrow_mut();
        left.disks.extend(disks.iter().chain(&snapshots));
        left.creating.extend(creating);
    }

    /// Runs `act` as a process that ends after it.
    pub fn as_process<'w, T>(
        &self,
        process: &'w Process,
        faults: &Faults<'w>,
        act: impl FnOnce(CephSr<'_>) -> T,
    ) -> T {
        use sr_ceph::host::Host;
        let pool = FaultyPool::new(&process.pool, faults);
        let host = FaultyHost::new(&process.host, faults);
        let result = act(ceph_sr(&pool, &host, self.lab.sr));
        self.lab.sim.kill(process.host.owner());
        result
    }

    pub fn perform(&self, operation: Operation, sr: &CephSr<'_>) -> Result<()> {
        self.perform_on(A, operation, sr)
    }

    /// Performs an operation as a process of that host.
    pub fn perform_on(&self, host: &str, operation: Operation, sr: &CephSr<'_>) -> Result<()> {
        self.attempted.borrow_mut().push(operation);
        let (vdi, created) = (&self.vdi, &self.created);
        match operation {
            Operation::AttachSr => sr.attach_sr(),
            Operation::Scan => {
                let known = [self.lab.known(*vdi, "disk")];
                let scan = sr.scan(&known)?;
                let listed: BTreeSet<Uuid> = scan.vdis.iter().map(|v| v.uuid).collect();
                assert!(listed.contains(&self.bystander), "a scan forgot a VDI");
                Ok(())
            }
            Operation::Create => sr.create_disk(&new_disk(*created, GIB)).map(drop),
            Operation::Delete => sr.delete_vdi(vdi),
            Operation::Resize => sr.resize_vdi(vdi, i128::from(2 * GIB)).map(drop),
            Operation::Activate => {
                sr.activate_vdi(vdi, true)?;
                self.lab.sim.set_used(host, vdi, true);
                Ok(())
            }
            Operation::Deactivate => {
                self.lab.sim.set_used(host, vdi, false);
                sr.deactivate_vdi(vdi)
            }
            Operation::Rename => sr.update_vdi(&self.lab.known(*vdi, "renamed")),
            Operation::Snapshot => sr.snapshot_vdi(vdi, created).map(drop),
            Operation::SnapshotOfSnapshot => sr.snapshot_vdi(&self.snapshot, created).map(drop),
            Operation::CloneOfSnapshot => sr.clone_vdi(&self.snapshot, created).map(drop),
            Operation::CloneOfDisk => sr.clone_vdi(vdi, created).map(drop),
            Operation::CloneOfClone => sr.clone_vdi(&self.clone, created).map(drop),
            Operation::Revert => sr.revert_vdi(vdi, &self.snapshot).map(drop),
            Operation::DeleteSnapshot => sr.delete_vdi(&self.snapshot),
            Operation::DeleteClone => sr.delete_vdi(&self.clone),
            Operation::ActivateSnapshot => sr.activate_vdi(&self.snapshot, false).map(drop),
            Operation::DeclareDead => sr.declare_dead(C, "fenced").map(drop),
            Operation::DeactivateSnapshot => sr.deactivate_vdi(&self.snapshot),
            Operation::Track => sr.track_changes(vdi, true),
            Operation::DestroyData => sr.destroy_data(&self.snapshot),
        }
    }
}

/// The modes in which a read fails and the process survives.
pub const READ_FAULTS: [Mode; 2] = [Mode::Fails(libc::EIO), Mode::Fails(libc::ETIMEDOUT)];
