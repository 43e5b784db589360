//! Every call of an operation fails, loses its reply or is the last one of its process; another host acts in
//! between.

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
    /// An activation with a claim of this host whose server has died.
    Recover,
    /// An activation with a claim of a host that was declared dead.
    TakeOver,
    Deactivate,
    Attach,
    /// A scan with a server of this host without a device.
    Scan,
    /// An activation with a server of another host without a device. That host is asked.
    Ask,
    /// The work of the plugin on a host that is asked.
    Reconcile,
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
        Operation::Reconcile,
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
            Operation::Reconcile => {
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
            Operation::Reconcile => sr.reconcile_vdi(&VDI).map(drop),
            Operation::Deactivate => sr.deactivate(&VDI),
            Operation::Attach => sr.attach_sr(),
            Operation::Scan => sr.scan(&[]).map(drop),
            _ => sr.activate(&VDI, true).map(drop),
        }
    }

    /// Runs the operation as SM does.
    fn under_sm(self, sim: &Sim, run: impl FnOnce() -> Result<()>) -> Result<()> {
        match self {
            Operation::Deactivate | Operation::Attach | Operation::Scan | Operation::Reconcile => {
                run()
            }
            _ => activation(sim, "a", run),
        }
    }
}

/// Leaves a claim and a server on a host, as a killed command does.
fn leave_server(sim: &Sim, host: &str) {
    activate(sim, host).unwrap();
    sim.lose_device(host, &VDI);
    sim.set_used(host, &VDI, false);
}

/// Runs every operation with every fault, then `then`. A late request to XAPI arrives before `then`, or after it.
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
fn after_any_fault_the_same_host_can_continue_and_leaves_nothing() {
    after_every_fault(|sim, at| {
        activate(sim, "a").unwrap_or_else(|e| panic!("{at}: {e}"));
        is_served_by(sim, "a", at);
        deactivate(sim, "a");
        nothing_is_left(sim, at);
    });
}

#[test]
fn after_any_fault_unplugging_leaves_nothing() {
    after_every_fault(|sim, at| {
        deactivate(sim, "a");
        sim.comes_back("b");
        on(sim, "b", |sr| sr.attach_sr()).unwrap();
        nothing_is_left(sim, at);
    });
}

#[test]
fn after_any_fault_no_other_host_gets_a_disk_that_is_served() {
    after_every_fault(|sim, at| {
        if activate(sim, "b").is_ok() {
            is_served_by(sim, "b", at);
        }
        assert_eq!(sim.broken(), Vec::<String>::new(), "{at}");
    });
}

#[test]
fn after_any_fault_another_host_gets_a_dead_hosts_disk_and_keeps_it() {
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
fn at_most_one_of_two_hosts_that_activate_at_once_gets_the_disk() {
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
fn a_host_with_an_outdated_claim_log_starts_no_server() {
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
fn a_host_that_activates_during_a_deactivation_gets_the_disk_later() {
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
