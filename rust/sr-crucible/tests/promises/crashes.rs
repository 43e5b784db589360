//! Whatever fails, gets lost, or dies, and whoever comes in between.

use sr::faults::{Calls, Faults, Mode, Plan};
use sr_crucible::faults::{FaultyMachine, FaultyRegistry};
use sr_crucible::memory::{MemoryMachine, World};
use sr_crucible::{Result, Volumes};
use uuid::Uuid;

use crate::{
    activate, activation, deactivate, is_served_by, nothing_is_left, on, refused, volume, world,
    SR, VDI,
};

/// A process on a host, with faults.
pub fn faulty<'w, T>(
    world: &'w World,
    machine: &'w MemoryMachine<'w>,
    faults: &Faults<'w>,
    work: impl FnOnce(&Volumes<'_>) -> T,
) -> T {
    let registry = FaultyRegistry::new(world, faults);
    let machine = FaultyMachine::new(machine, faults);
    work(&Volumes::new(&registry, &machine, world, SR))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Activate,
    /// Activate where a claim and a server of this host have died.
    Recover,
    /// Activate where another host has died.
    TakeOver,
    Deactivate,
    Attach,
    /// Scan where a server of this host runs without a device.
    Scan,
    /// Activate where another host has such a server, and is asked.
    Ask,
    /// What the plugin does on a host that is asked.
    Settle,
}

impl Operation {
    const ALL: [Operation; 8] = [
        Operation::Activate,
        Operation::Recover,
        Operation::TakeOver,
        Operation::Deactivate,
        Operation::Attach,
        Operation::Scan,
        Operation::Ask,
        Operation::Settle,
    ];

    fn prepare(self) -> World {
        let world = world();
        for (number, target) in (1..).zip(volume().targets) {
            world.set_region(target, Uuid::from_u128(number));
        }
        for host in ["a", "b"] {
            world.set_key(host, &VDI, "key");
        }
        match self {
            Operation::Activate => {}
            Operation::Scan => leave_server(&world, "a"),
            Operation::Ask => leave_server(&world, "b"),
            Operation::Settle => {
                activate(&world, "a").unwrap();
                world.set_used("a", &VDI, false);
            }
            Operation::Recover | Operation::Attach => {
                activate(&world, "a").unwrap();
                world.kill_server("a", &VDI);
            }
            Operation::TakeOver => {
                activate(&world, "b").unwrap();
                world.power_cycle("b");
                world.declare_dead("b");
            }
            Operation::Deactivate => {
                activate(&world, "a").unwrap();
                world.set_used("a", &VDI, false);
            }
        }
        world
    }

    fn run(self, sr: &Volumes<'_>) -> Result<()> {
        match self {
            Operation::Settle => sr.settle_vdi(&VDI).map(drop),
            Operation::Deactivate => sr.deactivate(&VDI),
            Operation::Attach => sr.attach_sr(),
            Operation::Scan => sr.scan(&[]).map(drop),
            _ => sr.activate(&VDI, true).map(drop),
        }
    }

    /// Runs it as SM does.
    fn under_sm(self, world: &World, run: impl FnOnce() -> Result<()>) -> Result<()> {
        match self {
            Operation::Deactivate | Operation::Attach | Operation::Scan | Operation::Settle => {
                run()
            }
            _ => activation(world, "a", run),
        }
    }
}

/// A host has a volume's claim and server, and SM knows of nothing: its command was killed.
fn leave_server(world: &World, host: &str) {
    activate(world, host).unwrap();
    world.lose_device(host, &VDI);
    world.set_used(host, &VDI, false);
}

/// Runs every operation with every fault; `then` is what comes after it. A request to XAPI that is
/// late arrives before what comes after it, or in the end.
fn after_every_fault(then: impl Fn(&World, &str)) {
    let mut tried = 0;
    for operation in Operation::ALL {
        for mode in Mode::ALL {
            for late_is_last in [false, true] {
                for nth in 0.. {
                    let world = operation.prepare();
                    let machine = world.host("a");
                    let calls = Calls::Changes;
                    let faults = Faults::plan(Plan { calls, nth, mode });
                    let run = || faulty(&world, &machine, &faults, |sr| operation.run(sr));
                    let outcome = operation.under_sm(&world, run);
                    let Some(call) = faults.hit() else {
                        outcome.unwrap();
                        break;
                    };
                    // A host does what its processes ask while they wait, or not at all.
                    let is_xapis =
                        ["add", "remove", "ask", "publish_boot", "revive"].contains(&call);
                    if mode == Mode::Late && !is_xapis {
                        continue;
                    }
                    let at = format!("{operation:?}, {mode:?} at change {nth}, {call}");
                    if !late_is_last {
                        faults.deliver();
                    }
                    then(&world, &at);
                    faults.deliver();
                    assert_eq!(world.broken(), Vec::<String>::new(), "{at}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 200, "only {tried} faults were tried");
}

#[test]
fn whatever_fails_or_dies_the_same_host_can_go_on_and_leaves_nothing() {
    after_every_fault(|world, at| {
        activate(world, "a").unwrap_or_else(|e| panic!("{at}: {e}"));
        is_served_by(world, "a", at);
        deactivate(world, "a");
        nothing_is_left(world, at);
    });
}

#[test]
fn whatever_fails_or_dies_unplugging_leaves_nothing() {
    after_every_fault(|world, at| {
        deactivate(world, "a");
        world.comes_back("b");
        on(world, "b", |sr| sr.attach_sr()).unwrap();
        nothing_is_left(world, at);
    });
}

#[test]
fn whatever_fails_or_dies_another_host_never_gets_a_disk_that_is_served() {
    after_every_fault(|world, at| {
        if activate(world, "b").is_ok() {
            is_served_by(world, "b", at);
        }
        assert_eq!(world.broken(), Vec::<String>::new(), "{at}");
    });
}

#[test]
fn another_host_takes_over_once_the_first_was_declared_dead_and_keeps_the_disk() {
    after_every_fault(|world, at| {
        world.comes_back("b");
        world.power_cycle("a");
        world.declare_dead("a");
        activate(world, "b").unwrap_or_else(|e| panic!("{at}: {e}"));
        world.comes_back("a");
        on(world, "a", |sr| sr.attach_sr()).unwrap();
        refused(activate(world, "a"), at);
        is_served_by(world, "b", at);
    });
}

#[test]
fn of_two_hosts_that_activate_at_once_at_most_one_gets_the_disk() {
    for nth in 0.. {
        let world = world();
        let machine = world.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&world, "b")));
        let first = activation(&world, "a", || {
            faulty(&world, &machine, &faults, |sr| sr.activate(&VDI, true))
        });
        let last = faults.calls() <= nth;
        let at = format!("b activates before call {nth} of a, which gets {first:?}");
        let winner = world.serving(&VDI);
        assert_eq!(winner.len(), 1, "{at}");
        let winner = winner[0].0.clone();
        assert_eq!(first.is_ok(), winner == "a", "{at}");
        is_served_by(&world, &winner, &at);
        deactivate(&world, "a");
        deactivate(&world, "b");
        nothing_is_left(&world, &at);
        if last {
            break;
        }
    }
}

#[test]
fn a_host_that_was_slow_to_claim_starts_no_server_where_others_have_had_the_disk_since() {
    for nth in 0.. {
        let world = world();
        let machine = world.host("a");
        let faults = Faults::interrupted(nth, || {
            for _ in 0..2 {
                if activate(&world, "b").is_ok() {
                    deactivate(&world, "b");
                }
            }
            drop(activate(&world, "b"));
        });
        let first = activation(&world, "a", || {
            faulty(&world, &machine, &faults, |sr| sr.activate(&VDI, true))
        });
        let last = faults.calls() <= nth;
        let at = format!("b comes and goes before call {nth} of a, which gets {first:?}");
        let winner = if first.is_ok() { "a" } else { "b" };
        is_served_by(&world, winner, &at);
        deactivate(&world, "a");
        deactivate(&world, "b");
        nothing_is_left(&world, &at);
        if last {
            break;
        }
    }
}

#[test]
fn a_host_that_activates_while_another_lets_go_waits_its_turn() {
    for nth in 0.. {
        let world = world();
        activate(&world, "a").unwrap();
        world.set_used("a", &VDI, false);
        let machine = world.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&world, "b")));
        faulty(&world, &machine, &faults, |sr| sr.deactivate(&VDI)).unwrap();
        let last = faults.calls() <= nth;
        assert_eq!(world.broken(), Vec::<String>::new(), "call {nth}");
        activate(&world, "b").unwrap();
        is_served_by(&world, "b", &format!("call {nth}"));
        if last {
            break;
        }
    }
}

#[test]
fn no_disk_is_copied_while_a_host_starts_to_use_it() {
    for nth in 0.. {
        let world = World::new(vec![volume()]);
        let machine = world.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&world, "b")));
        let new = Uuid::from_u128(0xc0);
        let copied = faulty(&world, &machine, &faults, |sr| sr.copy(&VDI, &new));
        let at = format!("b activates before call {nth} of a's copying: {copied:?}");
        assert_eq!(world.broken(), Vec::<String>::new(), "{at}");
        let last = faults.calls() <= nth;
        deactivate(&world, "b");
        on(&world, "a", |sr| sr.copy(&VDI, &Uuid::from_u128(0xc1))).unwrap();
        nothing_is_left(&world, &at);
        if last {
            break;
        }
    }
}

#[test]
fn no_disk_is_deleted_while_a_host_starts_to_use_it() {
    for nth in 0.. {
        let world = World::new(Vec::new());
        world.provision(volume());
        let machine = world.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&world, "b")));
        let deleted = faulty(&world, &machine, &faults, |sr| sr.delete(&VDI));
        let at = format!("b activates before call {nth} of a's deletion: {deleted:?}");
        assert_eq!(world.broken(), Vec::<String>::new(), "{at}");
        assert_ne!(deleted.is_ok(), !world.serving(&VDI).is_empty(), "{at}");
        if faults.calls() <= nth {
            break;
        }
    }
}
