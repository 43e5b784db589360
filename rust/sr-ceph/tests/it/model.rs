//! Random sequences of everything that two hosts can do to an SR, compared with [`sr_ceph_model`]. A failing
//! sequence is shrunk and printed with its seed.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sr::faults::seed;
use sr_ceph::faults::Mode;
use sr_ceph::host::{Host, Mapped};
use sr_ceph::memory::MemoryPool;
use sr_ceph::pool::Pool;
use sr_ceph::record::VdiRecord;
use sr_ceph_model::{
    change, exactly, Bench, Command, Content, Effect, Fate, Model, Step, BLOCKS, HOSTS,
};
use uuid::Uuid;

use crate::support::{Lab, Process, A, B, GIB};

const NAMES: [&str; HOSTS] = [A, B];
const STEPS: usize = 40;
const SEQUENCES: u32 = 300;
/// The contents of blocks are below it. The simulator's content is one number.
const BASE: u64 = 1000;

/// What happens only in memory.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// `rbd device map`, out of band.
    MapByHand {
        host: usize,
        vdi: usize,
    },
    Reboot(usize),
    DeclareDead(usize),
    RunManager,
}

struct InMemory {
    lab: Lab,
    observer: MemoryPool,
}

impl InMemory {
    fn new() -> Self {
        let lab = Lab::new();
        let observer = lab.sim.client();
        InMemory { lab, observer }
    }
}

impl Bench for InMemory {
    type Process = Process;
    type Event = Event;
    const VDIS: usize = 5;
    const NEW: u64 = 1;
    const UNIT: u64 = GIB;
    const REUSES_UUIDS: bool = true;

    fn sr(&self) -> Uuid {
        self.lab.sr
    }

    fn observer(&self) -> &dyn Pool {
        &self.observer
    }

    fn host(&self, host: usize) -> &str {
        NAMES[host]
    }

    fn start(&self, host: usize) -> Process {
        self.lab.process(NAMES[host])
    }

    fn sides(process: &Process) -> (&dyn Pool, &dyn Host) {
        (&process.pool, &process.host)
    }

    fn stop(&self, process: &Process) {
        self.lab.sim.kill(process.host.owner());
    }

    fn let_leases_end(&self) {
        self.lab.let_leases_end();
    }

    fn content(&self, vdi: &VdiRecord) -> Content {
        let mut rest = self.lab.content(&vdi.uuid).unwrap();
        [(); BLOCKS].map(|()| {
            let block = rest % BASE;
            rest /= BASE;
            block
        })
    }

    fn write(&self, host: usize, vdi: &VdiRecord, content: &Content) {
        let image = &vdi.volume.image().id;
        let devices = self.devices(host);
        let device = devices
            .iter()
            .find(|d| d.key.image_id == *image && d.key.snap_id.is_none())
            .unwrap();
        let number = content
            .iter()
            .rev()
            .fold(0, |sum, block| sum * BASE + block);
        let written = self.lab.sim.write(NAMES[host], &device.device, number);
        written.unwrap();
    }

    fn devices(&self, host: usize) -> Vec<Mapped> {
        self.lab.sim.devices(NAMES[host])
    }

    fn paused(&self) -> BTreeSet<Uuid> {
        self.lab.sim.paused()
    }

    fn set_used(&self, host: usize, vdi: &Uuid, used: bool) {
        self.lab.sim.set_used(NAMES[host], vdi, used);
    }

    fn set_open(&self, host: usize, device: &Path, open: bool) {
        self.lab.sim.set_open(NAMES[host], device, open);
    }

    fn open_image(&self, vdi: &VdiRecord) {
        self.lab.sim.open_with_librbd(&vdi.volume.image().id);
    }

    fn close_images(&self) {
        for image in self.lab.sim.snapshot().sizes.keys() {
            for watcher in self.observer.watchers(image).unwrap() {
                self.observer.blocklist(&watcher.address, 3600).unwrap();
            }
        }
    }

    fn happen(&self, event: &Event, record: &dyn Fn(usize) -> Option<VdiRecord>) -> Effect {
        let sim = &self.lab.sim;
        match *event {
            Event::MapByHand { host, vdi } => match record(vdi) {
                Some(record) => {
                    let mapped = sim.map_by_hand(NAMES[host], &record.volume.image().name);
                    mapped.map_or(Effect::MapRefused(host), |_| Effect::Mapped)
                }
                None => Effect::None,
            },
            Event::Reboot(host) => {
                sim.reboot(NAMES[host]);
                Effect::PowerLoss(host)
            }
            Event::DeclareDead(host) => {
                sim.reboot(NAMES[host]);
                sim.declare_dead(NAMES[host], true);
                Effect::PowerLoss(host)
            }
            Event::RunManager => {
                sim.run_manager();
                Effect::None
            }
        }
    }

    fn check_settled(&self) {
        assert_eq!(
            self.lab.sim.wrong_purges(),
            [""; 0],
            "purged, and still named"
        );
    }

    fn delete_sr(self) {
        self.lab.settle();
        let pool = self.lab.sim.snapshot();
        assert!(pool.sizes.is_empty(), "left: {pool:?}");
        self.lab.run(A, |sr| sr.delete_sr()).unwrap();
    }
}

fn command() -> impl Strategy<Value = Command> {
    let vdi = || exactly(InMemory::VDIS);
    let activate = |writable| move |vdi| Command::Activate { vdi, writable };
    prop_oneof![
        16 => change(&vdi(), 1..6),
        4 => vdi().prop_map(activate(true)),
        1 => vdi().prop_map(activate(false)),
        4 => vdi().prop_map(Command::Deactivate),
        1 => Just(Command::Scan),
        1 => Just(Command::Attach),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    let mode = prop::sample::select(Mode::ALL.to_vec());
    let here = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    prop_oneof![
        16 => Just(Fate::Lives),
        5 => (0..7_usize, mode, here).prop_map(|(nth, mode, here)| Fate::Dies { nth, mode, here }),
        3 => (0..20_usize, any::<bool>(), command()).prop_map(|(nth, past_lease, meanwhile)| {
            Fate::HeldUp { nth, past_lease, meanwhile }
        }),
    ]
}

fn step() -> impl Strategy<Value = Step<Event>> {
    let host = || 0..HOSTS;
    let vdi = || 0..InMemory::VDIS;
    prop_oneof![
        24 => (host(), command(), fate())
            .prop_map(|(host, command, fate)| Step::Run { host, command, fate }),
        2 => Just(Step::Deliver),
        4 => (vdi(), 0..BLOCKS, 1..BASE)
            .prop_map(|(vdi, block, value)| Step::Write { vdi, block, value }),
        1 => (vdi(), any::<u8>()).prop_map(|(vdi, name)| Step::Rename { vdi, name }),
        1 => (vdi(), vdi()).prop_map(|(vdi, of)| Step::Repoint { vdi, of }),
        1 => vdi().prop_map(|vdi| Step::OpenImage { vdi }),
        2 => Just(Step::LeaseOver),
        1 => (host(), vdi()).prop_map(|(host, vdi)| Step::Event(Event::MapByHand { host, vdi })),
        1 => host().prop_map(|host| Step::Event(Event::Reboot(host))),
        1 => host().prop_map(|host| Step::Event(Event::DeclareDead(host))),
        1 => Just(Step::Event(Event::RunManager)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: SEQUENCES,
        rng_seed: RngSeed::Fixed(seed(20_261_121)),
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_actions_of_two_hosts_lose_resurrect_or_write_a_disk_twice(
        steps in prop::collection::vec(step(), STEPS)
    ) {
        let mut model = Model::new(InMemory::new());
        for step in &steps {
            model.take(step);
        }
        model.end();
    }
}
