//! A simulator of a Ceph pool and of the hosts that use it: in memory, with a clock that only waiting moves.
//!
//! It behaves as measurements of Ceph 16.2 and krbd show, in all that an SR can observe: compare-and-swap
//! treats a missing key as an empty one, a blocklisted client gets ESHUTDOWN for everything, an image in the
//! trash keeps its id and loses its name, a full pool allows deletion, two kernels may map one image and both
//! write, Ceph keeps a removed snapshot for its clones. Nothing else is simulated: a disk's content is one
//! number.
//!
//! [`Sim`] is what all of them share. It makes clients of the pool ([`MemoryPool`]) and processes on hosts
//! ([`MemoryHost`]), and causes what no driver requests: crashes, reboots, quotas, damage.

mod by_hand;
mod client;
mod comparison;
mod deletion;
mod host_state;
mod hosts;
mod inspection;
mod listing;
mod pool;
mod pool_state;
mod power;
mod report;
mod takeover;
mod templates;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sr::alarm::memory::MemoryBoard;
use uuid::Uuid;

use crate::host::{ImageKey, Mapped, Owner};
use crate::image_features::ImageFeatures;
use crate::pool::{Entries, Watcher};

pub use self::client::MemoryPool;
pub use self::hosts::MemoryHost;
pub use self::listing::CLOSED_DATA_POOL;
pub use self::pool_state::Snapshot;

use self::host_state::HostState;
use self::pool_state::{Image, PoolState};

/// How long a dead client's watch stays, in milliseconds, as on a cluster with default settings.
const WATCH_TIMEOUT: u64 = 30_000;

/// One pool, the hosts that use it, XAPI's notes about dead hosts, and the time.
///
/// Clones share the same state.
#[derive(Clone, Default)]
pub struct Sim {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pool: PoolState,
    hosts: BTreeMap<String, HostState>,
    /// Disks whose I/O is paused.
    paused: BTreeSet<Uuid>,
    /// Whether guards resume each paused disk at once.
    impatient: bool,
    /// XAPI's tasks that have not ended.
    tasks: BTreeSet<String>,
    /// Whether XAPI asks for growth of disks in use.
    grows_in_use: bool,
    /// The messages of XAPI.
    board: MemoryBoard,
    /// Milliseconds since 1970.
    clock: u64,
    last_number: u64,
}

impl State {
    /// A number that was not returned before, for ids, pids and nonces.
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn advance(&mut self, milliseconds: u64) {
        self.clock += milliseconds;
        let now = self.clock;
        self.pool.expire(now);
    }
}

impl Sim {
    /// An empty pool named `rbd`, without a quota, at noon of a day in 2026.
    pub fn new() -> Self {
        let sim = Sim::default();
        sim.lock().clock = 1_795_262_400_000;
        sim
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new client of the pool, with an address of its own.
    pub fn client(&self) -> MemoryPool {
        MemoryPool::new(self.clone())
    }

    /// A new process on a host. A new host boots first.
    pub fn process(&self, host: &str) -> MemoryHost {
        MemoryHost::start(self.clone(), host)
    }

    /// Ends a process: from now on its host finds that it is gone.
    pub fn kill(&self, process: &Owner) {
        if let Some(host) = self.lock().hosts.get_mut(&process.host) {
            host.processes.remove(&(process.pid, process.started));
        }
    }

    /// Lets time pass.
    pub fn advance_seconds(&self, seconds: u64) {
        self.lock().advance(seconds * 1000);
    }

    /// Sets what that host's kernel can map. `None`: it does not report that.
    pub fn set_supported_features(&self, host: &str, features: Option<ImageFeatures>) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.settings.supported_features = features.map(ImageFeatures::bits);
        }
    }

    /// Every device of a host.
    pub fn devices(&self, host: &str) -> Vec<Mapped> {
        let state = self.lock();
        let host = state.hosts.get(host);
        host.map_or_else(Vec::new, |host| host.mapped())
    }

    /// Opens or closes a device, as a VM's tapdisk does: one that is open cannot be unmapped.
    pub fn set_open(&self, host: &str, device: &Path, open: bool) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.set_open(device, open);
        }
    }

    /// Maps an image outside smblock, as `rbd device map` does.
    pub fn map_by_hand(&self, host: &str, image_name: &str) -> crate::host::Result<Mapped> {
        self.process(host).map_named(image_name)
    }

    /// Makes a device show an image under a name that it had before, as krbd does with an image that was
    /// renamed after it was mapped.
    pub fn forge_device_name(&self, host: &str, device: &Path, image_name: &str) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.rename_device(device, image_name);
        }
    }

    /// Returns the content of a disk; `None` if the image does not exist.
    pub fn content(&self, image_id: &str) -> Option<u64> {
        self.lock().pool.images.get(image_id).map(|i| i.content)
    }

    /// Writes to a disk through a device of a host.
    pub fn write(&self, host: &str, device: &Path, content: u64) -> crate::host::Result<()> {
        let mut state = self.lock();
        let fail = |errno| hosts::failure("write to", device.display(), errno);
        let known = state.hosts.get(host);
        let running = known.filter(|host| host.runs());
        let mapped = running
            .map(|host| host.writable(device))
            .ok_or_else(|| fail(nix::libc::ENXIO))??;
        // The OSDs refuse a blocklisted client: the kernel reports an I/O error.
        if state.pool.blocklist.contains_key(&mapped.client_address) {
            return Err(fail(nix::libc::EIO));
        }
        let key = mapped.key;
        match state.pool.images.get_mut(&key.image_id) {
            Some(image) => {
                image.content = content;
                Ok(())
            }
            None => Err(hosts::failure("write to", device.display(), nix::libc::EIO)),
        }
    }

    /// Returns the content of a snapshot of a disk.
    pub fn snapshot_content(&self, image_id: &str, snapshot_id: u64) -> Option<u64> {
        let state = self.lock();
        let image = state.pool.images.get(image_id)?;
        let snapshot = image.snapshots.iter().find(|s| s.id == snapshot_id);
        snapshot.map(|snapshot| snapshot.content)
    }

    /// Begins a task of XAPI, or ends it.
    pub fn set_task(&self, task: &str, runs: bool) {
        let tasks = &mut self.lock().tasks;
        match runs {
            true => drop(tasks.insert(task.to_owned())),
            false => drop(tasks.remove(task)),
        }
    }

    /// Makes guards resume each paused disk at once, as if the cluster were slow.
    pub fn set_impatient(&self, impatient: bool) {
        self.lock().impatient = impatient;
    }

    /// Returns the disks whose I/O is paused.
    pub fn paused(&self) -> BTreeSet<Uuid> {
        self.lock().paused.clone()
    }

    /// Lets ceph-mgr flatten what it was asked to, and free the images without watchers.
    pub fn run_manager(&self) {
        self.lock().pool.run_manager();
    }

    /// Stops ceph-mgr, or starts it.
    pub fn set_manager(&self, present: bool) {
        self.lock().pool.without_manager = !present;
    }

    /// `ceph osd pool set-quota rbd max_bytes`; 0: no quota.
    pub fn set_quota(&self, bytes: u64) {
        self.lock().pool.quota_bytes = bytes;
    }

    /// Sets how many bytes the disks' content takes.
    pub fn set_stored(&self, bytes: u64) {
        self.lock().pool.stored = bytes;
    }

    /// Sets or clears the pool's flag `full_quota`.
    pub fn set_full(&self, full: bool) {
        self.lock().pool.full = full;
    }

    /// Has the cluster fail a health check, such as `OSD_DOWN`.
    pub fn fail_health_check(&self, name: &str) {
        self.lock().pool.failing.insert(name.to_owned());
    }

    /// Gives the pool a CRUSH rule of type msr.
    pub fn use_msr_rule(&self) {
        self.lock().pool.has_msr_rule = true;
    }

    /// `ceph osd pg-upmap-primary`
    pub fn upmap_primary(&self, pg: &str) {
        self.lock().pool.upmap_primaries.push(pg.to_owned());
    }

    /// Makes the whole cluster unreachable, or reachable again.
    pub fn set_reachable(&self, reachable: bool) {
        self.lock().pool.unreachable = !reachable;
    }

    /// Returns the omap of an object, as `rados listomapvals` shows it.
    pub fn object(&self, name: &str) -> Option<Entries> {
        self.lock().pool.objects.get(name).cloned()
    }

    /// Writes one omap key, as `rados setomapval` does.
    pub fn put(&self, object: &str, key: &str, value: &[u8]) {
        let mut state = self.lock();
        let object = state.pool.objects.entry(object.to_owned()).or_default();
        object.insert(key.to_owned(), value.to_vec());
    }

    /// `rados rm`.
    pub fn remove_object(&self, name: &str) {
        self.lock().pool.objects.remove(name);
    }

    /// Makes an image that does not belong to this driver.
    pub fn create_foreign_image(&self, name: &str, size: u64) -> String {
        let mut state = self.lock();
        let id = format!("f{:x}", state.number());
        let image = Image::new(name, size, ImageFeatures::DEFAULT.bits(), None);
        state.pool.insert(&id, image);
        id
    }

    /// `rbd rm`, outside smblock.
    pub fn remove_image(&self, name: &str) {
        let pool = &mut self.lock().pool;
        if let Some(id) = pool.directory.remove(name) {
            pool.images.remove(&id);
        }
    }

    /// `rbd resize --allow-shrink`, outside smblock.
    pub fn resize_image(&self, name: &str, size: u64) {
        let pool = &mut self.lock().pool;
        if let Some(id) = pool.directory.get(name) {
            if let Some(image) = pool.images.get_mut(id) {
                image.size = size;
            }
        }
    }

    /// Opens an image with librbd and keeps it open, as a backup or a monitoring tool does.
    pub fn open_with_librbd(&self, image_id: &str) {
        let mut state = self.lock();
        let number = state.number();
        let watcher = Watcher {
            address: format!("127.0.0.1:0/{number}"),
            client_id: number,
            cookie: 0x7f00_0000_0000 + number,
        };
        state.pool.watch(image_id, watcher);
    }

    /// Everything in the pool.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().pool.snapshot()
    }

    /// Every device of every host.
    pub fn all_devices(&self) -> BTreeMap<String, BTreeSet<(ImageKey, bool)>> {
        let state = self.lock();
        let devices = |host: &HostState| {
            let devices = host.mapped().into_iter();
            devices.map(|d| (d.key, d.read_only)).collect()
        };
        let hosts = state.hosts.iter();
        hosts
            .map(|(name, host)| (name.clone(), devices(host)))
            .collect()
    }
}
