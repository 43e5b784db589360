//! One SR in the model of a pool, and the hosts that use it.

pub mod fixture;

use std::collections::BTreeMap;

use sr::xapi::{XapiFields, XapiVdi};
use sr_ceph::host::{Host, Mapped};
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::memory::{MemoryHost, MemoryPool, Sim};
use sr_ceph::pool::Pool;
use sr_ceph::record::{LineageRecord, Record, VdiRecord};
use sr_ceph::sr::scan::Scan;
use sr_ceph::vdi::create::NewDisk;
use sr_ceph::{CephSr, Result};
use uuid::Uuid;

pub const A: &str = "host-a";
pub const B: &str = "host-b";
pub const C: &str = "host-c";
pub const GIB: u64 = 1 << 30;
/// Longer than any lease.
pub const LEASE_OVER: u64 = 121;

/// A pool and one SR in it.
#[derive(Clone)]
pub struct Lab {
    pub sim: Sim,
    pub sr: Uuid,
}

/// A process of the driver: a client of the pool, on a host.
pub struct Process {
    pub pool: MemoryPool,
    pub host: MemoryHost,
    pub sr: Uuid,
}

impl Process {
    pub fn ceph_sr(&self) -> CephSr<'_> {
        ceph_sr(&self.pool, &self.host, self.sr)
    }
}

pub fn ceph_sr<'a>(pool: &'a dyn Pool, host: &'a dyn Host, sr: Uuid) -> CephSr<'a> {
    CephSr::new(pool, host, sr, ImageFeatures::DEFAULT)
}

pub fn named(name: &str) -> XapiFields {
    XapiFields {
        name_label: name.to_owned(),
        name_description: format!("about {name}"),
        ty: "user".into(),
        managed: true,
        ..XapiFields::default()
    }
}

pub fn new_disk(uuid: Uuid, size: u64) -> NewDisk {
    NewDisk {
        uuid,
        size: i128::from(size),
        xapi: named("disk"),
    }
}

impl Lab {
    /// A pool without any SR.
    pub fn bare() -> Self {
        let lab = Lab {
            sim: Sim::new(),
            sr: Uuid::new_v4(),
        };
        for host in [A, B] {
            lab.sim.kill(lab.process(host).host.owner()); // the host has booted
        }
        lab
    }

    /// A pool with an empty SR.
    pub fn new() -> Self {
        let lab = Lab::bare();
        lab.run(A, |sr| sr.create_sr("ceph", "the pool")).unwrap();
        lab
    }

    pub fn process(&self, host: &str) -> Process {
        Process {
            pool: self.sim.client(),
            host: self.sim.process(host),
            sr: self.sr,
        }
    }

    /// Runs one command to its end, as a new process on that host.
    pub fn run<T>(&self, host: &str, command: impl FnOnce(CephSr<'_>) -> T) -> T {
        let process = self.process(host);
        let result = command(process.ceph_sr());
        self.sim.kill(process.host.owner());
        result
    }

    pub fn create(&self, size: u64) -> Uuid {
        let uuid = Uuid::new_v4();
        self.run(A, |sr| sr.create_disk(&new_disk(uuid, size)))
            .unwrap();
        uuid
    }

    pub fn snapshot(&self, vdi: &Uuid) -> Uuid {
        let new = Uuid::new_v4();
        self.run(A, |sr| sr.snapshot_vdi(vdi, &new)).unwrap();
        new
    }

    pub fn clone_of(&self, vdi: &Uuid) -> Uuid {
        let new = Uuid::new_v4();
        self.run(A, |sr| sr.clone_vdi(vdi, &new)).unwrap();
        new
    }

    /// Activates a disk on host A, writes to it, and deactivates it.
    pub fn write(&self, vdi: &Uuid, content: u64) {
        let device = self.activate(A, vdi).unwrap().device;
        self.sim.write(A, &device, content).unwrap();
        self.deactivate(A, vdi).unwrap();
    }

    /// An SR with one disk, whose content is 1.
    pub fn with_disk() -> (Self, Uuid) {
        let lab = Lab::new();
        let disk = lab.create(GIB);
        lab.write(&disk, 1);
        (lab, disk)
    }

    /// An SR with a disk that host B uses, its snapshot, and an image that is to be freed. 2 GiB of its quota of
    /// 10 GiB are used.
    pub fn with_some_of_each() -> Self {
        let (lab, disk) = Lab::with_disk();
        lab.snapshot(&disk);
        let deleted = lab.create(GIB);
        lab.activate(B, &disk).unwrap();
        lab.sim.set_quota(10 * GIB);
        lab.sim.set_stored(2 * GIB);
        lab.run(A, |sr| sr.delete_vdi(&deleted)).unwrap();
        lab
    }

    /// Deletes everything, and checks that the pool is empty.
    pub fn clear(&self) {
        for vdi in self.vdis(A).keys() {
            self.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
        }
        self.settle();
        let pool = self.sim.snapshot();
        assert!(pool.images.is_empty() && pool.trash.is_empty());
        self.run(A, |sr| sr.delete_sr()).unwrap();
    }

    /// Scans and runs the manager until nothing changes any more.
    pub fn settle(&self) {
        let mut before = None;
        while before != Some(self.sim.snapshot()) {
            before = Some(self.sim.snapshot());
            self.scan(B).unwrap();
            self.sim.run_manager();
        }
        assert_eq!(self.sim.wrong_purges(), [""; 0], "purged, and still named");
    }

    /// Returns the content of a VDI.
    pub fn content(&self, vdi: &Uuid) -> Option<u64> {
        let volume = self.record(vdi)?.volume;
        let image = &volume.image().id;
        match volume.snapshot() {
            None => self.sim.content(image),
            Some(snapshot) => self.sim.snapshot_content(image, snapshot.id),
        }
    }

    pub fn activate(&self, host: &str, vdi: &Uuid) -> Result<Mapped> {
        let mapped = self.run(host, |sr| sr.activate_vdi(vdi, true))?;
        self.sim.set_used(host, vdi, true);
        Ok(mapped)
    }

    pub fn deactivate(&self, host: &str, vdi: &Uuid) -> Result<()> {
        self.sim.set_used(host, vdi, false);
        self.run(host, |sr| sr.deactivate_vdi(vdi))
    }

    /// Every host reads the journal, then time passes for longer than a lease.
    pub fn let_leases_end(&self) {
        for host in [A, B] {
            // Some tests have removed the catalogue or stopped the cluster.
            let _looked = self.run(host, |sr| sr.observe_journal());
        }
        self.sim.advance_seconds(LEASE_OVER);
    }

    /// Scans for a XAPI that has no VDI.
    pub fn scan(&self, host: &str) -> Result<Scan> {
        self.run(host, |sr| sr.scan(&[]))
    }

    /// Returns the VDIs of a scan, with their sizes in bytes.
    pub fn vdis(&self, host: &str) -> BTreeMap<Uuid, u64> {
        let scan = self.scan(host).unwrap();
        scan.vdis.iter().map(|vdi| (vdi.uuid, vdi.size)).collect()
    }

    pub fn catalogue(&self) -> String {
        sr_ceph::catalogue::catalogue_object(&self.sr)
    }

    pub fn record(&self, vdi: &Uuid) -> Option<VdiRecord> {
        let entries = self.sim.object(&self.catalogue()).unwrap();
        let bytes = entries.get(&format!("vdi.{vdi}"))?;
        Some(VdiRecord::parse(bytes).unwrap())
    }

    /// Returns the lineages of the catalogue.
    pub fn lineages(&self) -> Vec<LineageRecord> {
        let entries = self.sim.object(&self.catalogue()).unwrap();
        let keys = self.keys("lineage.").into_iter();
        keys.map(|key| LineageRecord::parse(&entries[&key]).unwrap())
            .collect()
    }

    pub fn image_name(&self, vdi: &Uuid) -> String {
        self.record(vdi).unwrap().volume.image().name.clone()
    }

    pub fn image_id(&self, vdi: &Uuid) -> String {
        self.record(vdi).unwrap().volume.image().id.clone()
    }

    /// Returns the omap keys of the catalogue with that prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let entries = self.sim.object(&self.catalogue()).unwrap_or_default();
        let keys = entries.into_keys();
        keys.filter(|key| key.starts_with(prefix)).collect()
    }

    pub fn known(&self, uuid: Uuid, name: &str) -> XapiVdi {
        XapiVdi {
            uuid,
            size: GIB,
            fields: named(name),
        }
    }
}
