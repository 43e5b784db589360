//! An administrator releases a claim on the host that serves the volume.

use sr_crucible::{Error, Xapi};

use crate::support::{activate, deactivate, is_served_by, nothing_is_left, on, sim, VDI};

/// Checks that host a refuses to release the claim, and still serves the volume.
#[track_caller]
fn refused(sim: &sr_crucible::memory::Sim, at: &str) {
    let before = sim.sm_config(&VDI).unwrap();
    let refused = on(sim, "a", |sr| sr.break_claim(&VDI, false));
    assert!(
        matches!(refused, Err(Error::UsedHere { .. })),
        "{at}: {refused:?}"
    );
    assert_eq!(sim.sm_config(&VDI).unwrap(), before, "{at}");
}

#[test]
fn a_release_is_refused_while_this_host_serves_the_volume() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    refused(&sim, "server and device");
    is_served_by(&sim, "a", "after the refusal");
    sim.set_used("a", &VDI, false);
    sim.lose_device("a", &VDI);
    refused(&sim, "a server alone");
    deactivate(&sim, "a");
    activate(&sim, "a").unwrap();
    sim.kill_server("a", &VDI);
    refused(&sim, "a device alone");
    deactivate(&sim, "a");
    assert_eq!(
        on(&sim, "a", |sr| sr.break_claim(&VDI, false)).unwrap(),
        None
    );
    nothing_is_left(&sim, "in the end");
}

#[test]
fn a_release_is_refused_while_a_command_of_this_host_works_on_the_volume() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.power_cycle("a");
    let working = sim.work_on("a", &VDI);
    refused(&sim, "at work");
    drop(working);
    let broken = on(&sim, "a", |sr| sr.break_claim(&VDI, false)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
}

#[test]
fn a_damaged_claim_stays_while_this_host_serves_the_volume() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.add(&VDI, "crucible_claim_7", "{").unwrap();
    refused(&sim, "damaged");
    // The host only settles what it has itself; the administrator removes the entry.
    sim.set_used("a", &VDI, false);
    assert!(!on(&sim, "a", |sr| sr.reconcile_vdi(&VDI)).unwrap());
    let broken = on(&sim, "a", |sr| sr.break_claim(&VDI, false)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
    nothing_is_left(&sim, "in the end");
}

#[test]
fn a_release_by_force_asks_this_host_nothing() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    let broken = on(&sim, "a", |sr| sr.break_claim(&VDI, true)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
}
