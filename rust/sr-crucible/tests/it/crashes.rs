//! Whatever fails, gets lost, or dies, and whoever comes in between.

use sr::faults::{at_each_call, before_each_call, Calls, Faults, Mode};
use sr_crucible::memory::Sim;
use sr_crucible::{CrucibleSr, Result};
use uuid::Uuid;

use crate::support::{
    activate, activation, deactivate, faulty, is_served_by, nothing_is_left, on, refused, sim,
    volume, VDI,
};

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

    fn prepare(self) -> Sim {
        let sim = sim();
        for (number, target) in (1..).zip(volume().targets) {
            sim.set_region(target, Uuid::from_u128(number));
        }
        for host in ["a", "b"] {
            sim.set_key(host, &VDI, "key");
        }
        match self {
            Operation::Activate => {}
            Operation::Scan => leave_server(&sim, "a"),
            Operation::Ask => leave_server(&sim, "b"),
            Operation::Settle => {
                activate(&sim, "a").unwrap();
                sim.set_used("a", &VDI, false);
            }
            Operation::Recover | Operation::Attach => {
                activate(&sim, "a").unwrap();
                sim.kill_server("a", &VDI);
            }
            Operation::TakeOver => {
                activate(&sim, "b").unwrap();
                sim.power_cycle("b");
                sim.declare_dead("b");
            }
            Operation::Deactivate => {
                activate(&sim, "a").unwrap();
                sim.set_used("a", &VDI, false);
            }
        }
        sim
    }

    fn run(self, sr: &CrucibleSr<'_>) -> Result<()> {
        match self {
            Operation::Settle => sr.settle_vdi(&VDI).map(drop),
            Operation::Deactivate => sr.deactivate(&VDI),
            Operation::Attach => sr.attach_sr(),
            Operation::Scan => sr.scan(&[]).map(drop),
            _ => sr.activate(&VDI, true).map(drop),
        }
    }

    /// Runs it as SM does.
    fn under_sm(self, sim: &Sim, run: impl FnOnce() -> Result<()>) -> Result<()> {
        match self {
            Operation::Deactivate | Operation::Attach | Operation::Scan | Operation::Settle => {
                run()
            }
            _ => activation(sim, "a", run),
        }
    }
}

/// A host has a volume's claim and server, and SM knows of nothing: its command was killed.
fn leave_server(sim: &Sim, host: &str) {
    activate(sim, host).unwrap();
    sim.lose_device(host, &VDI);
    sim.set_used(host, &VDI, false);
}

/// Runs every operation with every fault; `then` is what comes after it. A request to XAPI that is
/// late arrives before what comes after it, or in the end.
fn after_every_fault(then: impl Fn(&Sim, &str)) {
    let mut tried = 0;
    for operation in Operation::ALL {
        for late_is_last in [false, true] {
            tried += at_each_call(Calls::Changes, |plan| {
                let sim = operation.prepare();
                let host = sim.host("a");
                let faults = Faults::plan(plan);
                let run = || faulty(&sim, &host, &faults, |sr| operation.run(sr));
                let outcome = operation.under_sm(&sim, run);
                let Some(call) = faults.hit() else {
                    outcome.unwrap();
                    return false;
                };
                // A request to XAPI can arrive late. A request to the own host cannot.
                let is_xapis = ["add", "remove", "ask", "publish_boot", "revive"].contains(&call);
                if plan.mode == Mode::Late && !is_xapis {
                    return true;
                }
                let at = format!("{operation:?}, {plan:?}, {call}");
                if !late_is_last {
                    faults.deliver();
                }
                then(&sim, &at);
                faults.deliver();
                assert_eq!(sim.broken(), Vec::<String>::new(), "{at}");
                true
            });
        }
    }
    assert!(tried > 200, "only {tried} faults were tried");
}

#[test]
fn whatever_fails_or_dies_the_same_host_can_go_on_and_leaves_nothing() {
    after_every_fault(|sim, at| {
        activate(sim, "a").unwrap_or_else(|e| panic!("{at}: {e}"));
        is_served_by(sim, "a", at);
        deactivate(sim, "a");
        nothing_is_left(sim, at);
    });
}

#[test]
fn whatever_fails_or_dies_unplugging_leaves_nothing() {
    after_every_fault(|sim, at| {
        deactivate(sim, "a");
        sim.comes_back("b");
        on(sim, "b", |sr| sr.attach_sr()).unwrap();
        nothing_is_left(sim, at);
    });
}

#[test]
fn whatever_fails_or_dies_another_host_never_gets_a_disk_that_is_served() {
    after_every_fault(|sim, at| {
        if activate(sim, "b").is_ok() {
            is_served_by(sim, "b", at);
        }
        assert_eq!(sim.broken(), Vec::<String>::new(), "{at}");
    });
}

#[test]
fn another_host_takes_over_once_the_first_was_declared_dead_and_keeps_the_disk() {
    after_every_fault(|sim, at| {
        sim.comes_back("b");
        sim.power_cycle("a");
        sim.declare_dead("a");
        activate(sim, "b").unwrap_or_else(|e| panic!("{at}: {e}"));
        sim.comes_back("a");
        on(sim, "a", |sr| sr.attach_sr()).unwrap();
        refused(activate(sim, "a"), at);
        is_served_by(sim, "b", at);
    });
}

#[test]
fn of_two_hosts_that_activate_at_once_at_most_one_gets_the_disk() {
    before_each_call(|nth| {
        let sim = sim();
        let host = sim.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&sim, "b")));
        let first = activation(&sim, "a", || {
            faulty(&sim, &host, &faults, |sr| sr.activate(&VDI, true))
        });
        let calls = faults.calls();
        let at = format!("b activates before call {nth} of a, which gets {first:?}");
        let winner = sim.serving(&VDI);
        assert_eq!(winner.len(), 1, "{at}");
        let winner = winner[0].0.clone();
        assert_eq!(first.is_ok(), winner == "a", "{at}");
        is_served_by(&sim, &winner, &at);
        deactivate(&sim, "a");
        deactivate(&sim, "b");
        nothing_is_left(&sim, &at);
        calls
    });
}

#[test]
fn a_host_that_was_slow_to_claim_starts_no_server_where_others_have_had_the_disk_since() {
    before_each_call(|nth| {
        let sim = sim();
        let host = sim.host("a");
        let faults = Faults::interrupted(nth, || {
            for _ in 0..2 {
                if activate(&sim, "b").is_ok() {
                    deactivate(&sim, "b");
                }
            }
            drop(activate(&sim, "b"));
        });
        let first = activation(&sim, "a", || {
            faulty(&sim, &host, &faults, |sr| sr.activate(&VDI, true))
        });
        let calls = faults.calls();
        let at = format!("b comes and goes before call {nth} of a, which gets {first:?}");
        let winner = if first.is_ok() { "a" } else { "b" };
        is_served_by(&sim, winner, &at);
        deactivate(&sim, "a");
        deactivate(&sim, "b");
        nothing_is_left(&sim, &at);
        calls
    });
}

#[test]
fn a_host_that_activates_while_another_lets_go_waits_its_turn() {
    before_each_call(|nth| {
        let sim = sim();
        activate(&sim, "a").unwrap();
        sim.set_used("a", &VDI, false);
        let host = sim.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&sim, "b")));
        faulty(&sim, &host, &faults, |sr| sr.deactivate(&VDI)).unwrap();
        let calls = faults.calls();
        assert_eq!(sim.broken(), Vec::<String>::new(), "call {nth}");
        activate(&sim, "b").unwrap();
        is_served_by(&sim, "b", &format!("call {nth}"));
        calls
    });
}

#[test]
fn no_disk_is_copied_while_a_host_starts_to_use_it() {
    before_each_call(|nth| {
        let sim = Sim::new(vec![volume()]);
        let host = sim.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&sim, "b")));
        let new = Uuid::from_u128(0xc0);
        let copied = faulty(&sim, &host, &faults, |sr| sr.copy(&VDI, &new));
        let at = format!("b activates before call {nth} of a's copying: {copied:?}");
        assert_eq!(sim.broken(), Vec::<String>::new(), "{at}");
        let calls = faults.calls();
        deactivate(&sim, "b");
        on(&sim, "a", |sr| sr.copy(&VDI, &Uuid::from_u128(0xc1))).unwrap();
        nothing_is_left(&sim, &at);
        calls
    });
}

#[test]
fn no_disk_is_deleted_while_a_host_starts_to_use_it() {
    before_each_call(|nth| {
        let sim = Sim::new(Vec::new());
        sim.provision(volume());
        let host = sim.host("a");
        let faults = Faults::interrupted(nth, || drop(activate(&sim, "b")));
        let deleted = faulty(&sim, &host, &faults, |sr| sr.delete(&VDI));
        let at = format!("b activates before call {nth} of a's deletion: {deleted:?}");
        assert_eq!(sim.broken(), Vec::<String>::new(), "{at}");
        assert_ne!(deleted.is_ok(), !sim.serving(&VDI).is_empty(), "{at}");
        faults.calls()
    });
}
