//! One SR in a pool of a real cluster, and the processes that use it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::RwLockReadGuard;
use std::time::{Duration, Instant};

use librbd::{ImageRef, SnapId};
use sr::xapi::XapiFields;
use sr_ceph::catalogue::{catalogue_object, image_prefix};
use sr_ceph::ceph::{connect, CephPool};
use sr_ceph::device_config::DeviceConfig;
use sr_ceph::faults::{Faults, FaultyHost, FaultyPool};
use sr_ceph::host::Host;
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::pool::{Entries, Pool};
use sr_ceph::record::{Record, VdiRecord};
use sr_ceph::vdi::create::NewDisk;
use sr_ceph::CephSr;
use uuid::Uuid;

use super::hosts::{HostSim, Hosts};
use super::pool::{device_config, shared};

pub const A: &str = "host-a";
pub const B: &str = "host-b";
pub const MIB: u64 = 1 << 20;
/// Size of a new disk, in bytes.
pub const SIZE: u64 = 12 * MIB;
/// Longer than any lease, in seconds.
const LEASE_OVER: u64 = 121;

/// The number of blocks that are written and compared: one in each object of a new disk.
pub const BLOCKS: usize = 3;
const BLOCK_BYTES: usize = 4096;
const OBJECT_BYTES: u64 = 4 * MIB;

/// The content of the blocks of a disk, a number each.
pub type Content = [u64; BLOCKS];

const DEADLINE: Duration = Duration::from_secs(30);
/// Long, because the manager frees one image after the other.
pub const FREED: Duration = Duration::from_secs(120);

/// A process of the driver: a client of its own, on a host.
pub struct Process {
    pub pool: CephPool,
    pub host: HostSim,
}

/// A pool with one SR in it.
pub struct Lab {
    pub hosts: Hosts,
    pub sr: Uuid,
    /// A connection for checks and preparations.
    pub observer: CephPool,
    /// The ids of the clients of all processes.
    pub clients: RefCell<BTreeSet<u64>>,
    config: DeviceConfig,
    pool: String,
    _cluster: RwLockReadGuard<'static, ()>,
}

pub fn named(name: &str) -> XapiFields {
    XapiFields {
        name_label: name.to_owned(),
        ty: "user".into(),
        managed: true,
        ..XapiFields::default()
    }
}

pub fn new_disk(uuid: Uuid, name: &str) -> NewDisk {
    NewDisk {
        uuid,
        size: i128::from(SIZE),
        xapi: named(name),
    }
}

impl Lab {
    /// A new SR in the pool that the environment names. `None`, and a line on stderr, without such a pool.
    pub fn connect() -> Option<Self> {
        let lab = Lab::of(Uuid::new_v4())?;
        lab.prepare(|sr| sr.create_sr("ceph", "")).unwrap();
        Some(lab)
    }

    /// The SR of that UUID in that pool.
    pub fn of(sr: Uuid) -> Option<Self> {
        let (config, pool) = device_config()?;
        Some(Lab {
            hosts: Hosts::default(),
            sr,
            observer: open(&config, &pool),
            clients: RefCell::default(),
            config,
            pool,
            _cluster: shared(),
        })
    }

    /// The pool's name.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// A process on a host, with a connection of its own.
    pub fn process(&self, host: &str) -> Process {
        let pool = open(&self.config, &self.pool);
        let client = pool.connection().instance_id();
        self.clients.borrow_mut().insert(client);
        Process {
            pool,
            host: self.hosts.start(host),
        }
    }

    /// Both hosts read the journal, then time passes for longer than a lease.
    pub fn let_leases_end(&self) {
        for host in [A, B] {
            self.run(host, |sr| sr.observe_journal()).unwrap();
        }
        self.hosts.advance_seconds(LEASE_OVER);
    }

    /// Runs one command as a new process on that host, from connecting to its end.
    pub fn run<T>(&self, host: &str, command: impl FnOnce(&CephSr<'_>) -> T) -> T {
        let (process, faults) = (self.process(host), Faults::none());
        self.as_process(&process, &faults, command)
    }

    /// Runs a command as that process, which then ends. Its connection stays, as that of a killed process.
    pub fn as_process<'w, T>(
        &self,
        process: &'w Process,
        faults: &Faults<'w>,
        command: impl FnOnce(&CephSr<'_>) -> T,
    ) -> T {
        let pool = FaultyPool::new(&process.pool, faults);
        let host = FaultyHost::new(&process.host, faults);
        let result = command(&self.ceph_sr(&pool, &host));
        self.hosts.end(process.host.owner());
        result
    }

    /// Runs a command that is not under test on host A, on the observer's connection.
    pub fn prepare<T>(&self, command: impl FnOnce(&CephSr<'_>) -> T) -> T {
        let host = self.hosts.start(A);
        let result = command(&self.ceph_sr(&self.observer, &host));
        self.hosts.end(host.owner());
        result
    }

    fn ceph_sr<'a>(&self, pool: &'a dyn Pool, host: &'a dyn Host) -> CephSr<'a> {
        CephSr::new(pool, host, self.sr, ImageFeatures::DEFAULT)
    }

    /// Creates a disk with that content.
    pub fn disk(&self, name: &str, content: &Content) -> Uuid {
        let uuid = Uuid::new_v4();
        self.prepare(|sr| sr.create_disk(&new_disk(uuid, name)))
            .unwrap();
        self.fill(&uuid, content);
        uuid
    }

    pub fn snapshot(&self, vdi: &Uuid) -> Uuid {
        let new = Uuid::new_v4();
        self.prepare(|sr| sr.snapshot_vdi(vdi, &new)).unwrap();
        new
    }

    pub fn clone_of(&self, vdi: &Uuid) -> Uuid {
        let new = Uuid::new_v4();
        self.prepare(|sr| sr.clone_vdi(vdi, &new)).unwrap();
        new
    }

    /// Writes to a disk, as a VM that runs on host A and then stops.
    pub fn fill(&self, vdi: &Uuid, content: &Content) {
        self.prepare(|sr| sr.activate_vdi(vdi, true)).unwrap();
        self.write(vdi, content);
        self.prepare(|sr| sr.deactivate_vdi(vdi)).unwrap();
    }

    /// Writes to a disk that is in use.
    pub fn write(&self, vdi: &Uuid, content: &Content) {
        let image = self.open_image(vdi, false);
        for (number, value) in content.iter().enumerate() {
            let block = value.to_le_bytes().repeat(BLOCK_BYTES / 8);
            image
                .write_at(number as u64 * OBJECT_BYTES, &block)
                .unwrap();
        }
        image.close().unwrap();
    }

    /// Returns the content of a VDI.
    pub fn content(&self, vdi: &Uuid) -> Content {
        let image = self.open_image(vdi, true);
        let mut content = [0; BLOCKS];
        for (number, value) in content.iter_mut().enumerate() {
            let mut block = [0; BLOCK_BYTES];
            let read = image.read_at(number as u64 * OBJECT_BYTES, &mut block);
            assert_eq!(read.unwrap(), BLOCK_BYTES);
            let (first, rest) = block.split_first_chunk().unwrap();
            assert!(rest.chunks(8).all(|word| word == first), "{vdi}: torn");
            *value = u64::from_le_bytes(*first);
        }
        content
    }

    /// Opens the image of a VDI on the observer's connection.
    pub fn open_image(&self, vdi: &Uuid, read_only: bool) -> librbd::Image {
        self.open_image_as(&self.observer, vdi, read_only)
    }

    /// Opens the image of a VDI on another client's connection.
    pub fn open_image_as(&self, client: &CephPool, vdi: &Uuid, read_only: bool) -> librbd::Image {
        let volume = self.record(vdi).unwrap().volume;
        let pool = client.connection().pool(&self.pool).unwrap();
        let id = ImageRef::Id(&volume.image().id);
        let mut image = pool.image_open(&id, read_only).unwrap();
        if let Some(snapshot) = volume.snapshot() {
            image.set_snapshot(Some(SnapId(snapshot.id))).unwrap();
        }
        image
    }

    /// Returns the whole catalogue.
    pub fn catalogue(&self) -> Entries {
        let object = catalogue_object(&self.sr);
        self.observer.read(&object, "").unwrap()
    }

    pub fn record(&self, vdi: &Uuid) -> Option<VdiRecord> {
        let (object, key) = (catalogue_object(&self.sr), format!("vdi.{vdi}"));
        let entries = self.observer.get(&object, &[&key]).unwrap();
        Some(VdiRecord::parse(entries.get(&key)?).unwrap())
    }

    /// Deletes the SR, whose VDIs are all deleted. Scans, and the manager that they ask, free the space first.
    pub fn end(self) {
        let end = Instant::now() + FREED;
        let left = |sr: &CephSr<'_>| {
            assert!(sr.scan(&[]).unwrap().vdis.is_empty(), "VDIs are left");
            let images = self.observer.images().unwrap();
            let ours = |name: &String| name.starts_with(&image_prefix(&self.sr));
            images.into_values().any(|name| ours(&name)) || !sr.trashed_images().unwrap().is_empty()
        };
        while self.prepare(left) {
            assert!(
                Instant::now() < end,
                "images are left, or nobody frees them"
            );
            std::thread::sleep(Duration::from_millis(500));
        }
        self.prepare(|sr| sr.delete_sr()).unwrap();
    }
}

fn open(config: &DeviceConfig, pool: &str) -> CephPool {
    CephPool::open(connect(config, DEADLINE).unwrap(), pool).unwrap()
}
