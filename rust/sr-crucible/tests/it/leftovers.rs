//! Any next command of a host removes what a killed command left.

use sr::faults::{Calls, Faults, Mode, Plan};
use sr_crucible::memory::Sim;
use sr_crucible::CrucibleSr;
use uuid::Uuid;

use crate::support::{activate, faulty, nothing_is_left, on, open_claim, refused, volume, SR, VDI};

const OTHER: Uuid = Uuid::from_u128(0x7d2);

/// Returns the model after a killed clone on host a, with only its claim left.
fn after_a_killed_clone() -> Sim {
    let mut other = volume();
    other.uuid = OTHER;
    other
        .targets
        .iter_mut()
        .for_each(|target| target.set_port(target.port() + 10));
    for nth in 0.. {
        let sim = Sim::new(vec![volume(), other.clone()]);
        kill_a_clone(&sim, nth);
        if open_claim(&sim).is_some() {
            return sim;
        }
    }
    unreachable!("no clone has claimed its source")
}

/// Runs a clone that is killed after its nth change.
fn kill_a_clone(sim: &Sim, nth: usize) {
    let host = sim.host("a");
    let plan = Plan {
        calls: Calls::Changes,
        nth,
        mode: Mode::KilledAfter,
    };
    let faults = Faults::plan(plan);
    let copy = Uuid::from_u128(0xc0);
    faulty(sim, &host, &faults, |sr| sr.copy(&VDI, &copy)).unwrap_err();
}

#[test]
fn every_command_settles_what_a_killed_clone_has_claimed() {
    type Command = fn(&CrucibleSr<'_>);
    let commands: [(&str, Command); 7] = [
        ("scan", |sr| drop(sr.scan(&[]).unwrap())),
        ("update", |sr| {
            assert_eq!(sr.usage().unwrap().allocated, 2 << 30)
        }),
        ("introduce", |sr| drop(sr.introduce(&OTHER).unwrap())),
        ("copy", |sr| {
            drop(sr.copy(&OTHER, &Uuid::from_u128(0xc1)).unwrap())
        }),
        ("activate", |sr| drop(sr.activate(&OTHER, true).unwrap())),
        ("create", |sr| {
            drop(sr.create(&Uuid::from_u128(0xc2), "new", 1).unwrap_err())
        }),
        ("attach", |sr| sr.attach_sr().unwrap()),
    ];
    for (name, command) in commands {
        let sim = after_a_killed_clone();
        sim.set_reachable("a", false);
        refused(activate(&sim, "b"), name);
        sim.set_reachable("a", true);
        on(&sim, "a", command);
        nothing_is_left(&sim, name);
        activate(&sim, "b").unwrap();
    }
}

#[test]
fn a_claim_of_a_running_command_is_not_released() {
    let sim = after_a_killed_clone();
    let working = sim.work_on("a", &VDI);
    on(&sim, "a", |sr| sr.scan(&[])).unwrap();
    assert_eq!(open_claim(&sim).unwrap().0, "a");
    drop(working);
    on(&sim, "a", |sr| sr.scan(&[])).unwrap();
    assert_eq!(open_claim(&sim), None);
}

#[test]
fn a_dead_server_with_a_device_stays_until_the_unplug() {
    let sim = Sim::new(vec![volume()]);
    activate(&sim, "a").unwrap();
    sim.set_open("a", &VDI, true);
    sim.kill_server("a", &VDI);
    let before = sim.left(&VDI);
    on(&sim, "a", |sr| sr.scan(&[])).unwrap();
    assert_eq!(sim.left(&VDI), before);
    assert_eq!(open_claim(&sim).unwrap().0, "a");
}

#[test]
fn a_disk_and_an_sr_are_plugged_while_no_list_can_be_read() {
    let sim = Sim::new(vec![volume()]);
    sim.a_sled_is_away.set(true);
    on(&sim, "a", |sr| sr.attach_sr()).unwrap();
    activate(&sim, "a").unwrap();
    on(&sim, "a", |sr| sr.scan(&[])).unwrap_err();
    let error = on(&sim, "a", |sr| sr.detach_sr()).unwrap_err();
    assert!(error.to_string().contains(&SR.to_string()), "{error}");
}
