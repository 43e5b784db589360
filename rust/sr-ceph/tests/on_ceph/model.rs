//! Random sequences of actions of two hosts on an SR, compared with [`sr_ceph_model`] after every step, all blocks
//! included. Processes die in any change, or sleep past their lease and continue after another host has recovered.
//! XAPI changes names and `snapshot_of` only in its database. Other programs have images open.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sr::faults::seed;
use sr_ceph::faults::Mode;
use sr_ceph::host::{Host, Mapped};
use sr_ceph::pool::Pool;
use sr_ceph::record::VdiRecord;
use sr_ceph_model::{
    change, likely, Bench, Command, Content, Effect, Fate, Model, Step, BLOCKS, HOSTS,
};
use uuid::Uuid;

use super::lab::{Lab, Process, A, B, MIB, SIZE};

const NAMES: [&str; HOSTS] = [A, B];
const STEPS: usize = 55;
const SEQUENCES: u32 = 6;
const SEED: u64 = 20_261_121;
/// Few, because each attempt to shrink a failing sequence takes seconds.
const SHRINKING: u32 = 20;

/// The other programs close all images.
#[derive(Debug, Clone, Copy)]
struct CloseImages;

struct OnCeph {
    lab: Lab,
    opened: RefCell<Vec<librbd::Image>>,
}

impl Bench for OnCeph {
    type Process = Process;
    type Event = CloseImages;
    const VDIS: usize = 7;
    const NEW: u64 = SIZE / Self::UNIT;
    const UNIT: u64 = 4 * MIB;
    const REUSES_UUIDS: bool = false;

    fn sr(&self) -> Uuid {
        self.lab.sr
    }

    fn observer(&self) -> &dyn Pool {
        &self.lab.observer
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
        self.lab.hosts.end(process.host.owner());
    }

    fn let_leases_end(&self) {
        self.lab.let_leases_end();
    }

    fn content(&self, vdi: &VdiRecord) -> Content {
        self.lab.content(&vdi.uuid)
    }

    fn write(&self, _host: usize, vdi: &VdiRecord, content: &Content) {
        self.lab.write(&vdi.uuid, content);
    }

    fn devices(&self, host: usize) -> Vec<Mapped> {
        self.lab.hosts.devices(NAMES[host])
    }

    fn paused(&self) -> BTreeSet<Uuid> {
        self.lab.hosts.paused()
    }

    fn set_used(&self, _host: usize, _vdi: &Uuid, _used: bool) {
        // These hosts are never asked.
    }

    fn set_open(&self, _host: usize, _device: &Path, _open: bool) {
        // These devices are never busy.
    }

    fn open_image(&self, vdi: &VdiRecord) {
        let image = self.lab.open_image(&vdi.uuid, false);
        self.opened.borrow_mut().push(image);
    }

    fn close_images(&self) {
        self.opened.borrow_mut().clear();
    }

    fn happen(&self, _: &CloseImages, _: &dyn Fn(usize) -> Option<VdiRecord>) -> Effect {
        self.close_images();
        Effect::None
    }

    fn check_settled(&self) {
        self.lab.check_clean();
    }

    fn delete_sr(self) {
        self.lab.end();
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    let mode = prop::sample::select(Mode::ALL.to_vec());
    prop_oneof![
        2 => Just(Fate::Lives),
        3 => (0..5_usize, mode, any::<bool>())
            .prop_map(|(nth, mode, here)| Fate::Dies { nth, mode, here: Some(here) }),
        2 => (4..9_usize).prop_map(|nth| Fate::HeldUp {
            nth,
            past_lease: true,
            meanwhile: Command::Scan,
        }),
    ]
}

/// Commands that die: the others are in `it/model.rs`.
fn doomed() -> impl Strategy<Value = (Command, Fate)> {
    (change(&likely(OnCeph::VDIS), 3..8), fate())
}

fn living() -> impl Strategy<Value = (Command, Fate)> {
    let vdi = || likely(OnCeph::VDIS);
    let command = prop_oneof![
        2 => vdi().prop_map(|vdi| Command::Activate { vdi, writable: true }),
        4 => vdi().prop_map(Command::Deactivate),
        2 => Just(Command::Scan),
    ];
    command.prop_map(|command| (command, Fate::Lives))
}

fn step() -> impl Strategy<Value = Step<CloseImages>> {
    let vdi = || 0..OnCeph::VDIS;
    let run = |(host, (command, fate))| Step::Run {
        host,
        command,
        fate,
    };
    prop_oneof![
        10 => (0..HOSTS, doomed()).prop_map(run),
        4 => (0..HOSTS, living()).prop_map(run),
        5 => (vdi(), 0..BLOCKS, 1..1000_u64)
            .prop_map(|(vdi, block, value)| Step::Write { vdi, block, value }),
        1 => (vdi(), any::<u8>()).prop_map(|(vdi, name)| Step::Rename { vdi, name }),
        1 => (vdi(), vdi()).prop_map(|(vdi, of)| Step::Repoint { vdi, of }),
        1 => vdi().prop_map(|vdi| Step::OpenImage { vdi }),
        1 => Just(Step::Event(CloseImages)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: SEQUENCES,
        rng_seed: RngSeed::Fixed(seed(SEED)),
        max_shrink_iters: SHRINKING,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_actions_of_two_hosts_keep_each_vdis_content_and_leave_nothing(
        steps in prop::collection::vec(step(), STEPS)
    ) {
        let Some(lab) = Lab::connect() else {
            return Ok(());
        };
        eprintln!("{STEPS} steps of {:?}", seed(SEED));
        let mut model = Model::new(OnCeph { lab, opened: RefCell::default() });
        for (number, step) in steps.iter().enumerate() {
            eprintln!("{number}: {step:?}");
            model.take(step);
        }
        eprintln!("{:?}", model.end());
    }
}
