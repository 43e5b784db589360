//! An administrator releases a claim on a host that serves the volume itself.

use sr_crucible::{Error, Registry};

use super::{activate, deactivate, is_served_by, nothing_is_left, on, world, VDI};

/// Host a refuses to release the claim, and serves the volume as before.
#[track_caller]
fn refused(world: &sr_crucible::memory::World, at: &str) {
    let before = world.sm_config(&VDI).unwrap();
    let refused = on(world, "a", |sr| sr.break_claim(&VDI, false));
    assert!(
        matches!(refused, Err(Error::UsedHere { .. })),
        "{at}: {refused:?}"
    );
    assert_eq!(world.sm_config(&VDI).unwrap(), before, "{at}");
}

#[test]
fn a_release_is_refused_while_this_host_serves_the_volume() {
    let world = world();
    activate(&world, "a").unwrap();
    refused(&world, "server and device");
    is_served_by(&world, "a", "after the refusal");
    world.set_used("a", &VDI, false);
    world.lose_device("a", &VDI);
    refused(&world, "a server alone");
    deactivate(&world, "a");
    activate(&world, "a").unwrap();
    world.kill_server("a", &VDI);
    refused(&world, "a device alone");
    deactivate(&world, "a");
    assert_eq!(
        on(&world, "a", |sr| sr.break_claim(&VDI, false)).unwrap(),
        None
    );
    nothing_is_left(&world, "in the end");
}

#[test]
fn a_release_is_refused_while_a_command_of_this_host_works_on_the_volume() {
    let world = world();
    activate(&world, "a").unwrap();
    world.power_cycle("a");
    let working = world.work_on("a", &VDI);
    refused(&world, "at work");
    drop(working);
    let broken = on(&world, "a", |sr| sr.break_claim(&VDI, false)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
}

#[test]
fn a_damaged_claim_stays_while_this_host_serves_the_volume() {
    let world = world();
    activate(&world, "a").unwrap();
    world.add(&VDI, "crucible_claim_7", "{").unwrap();
    refused(&world, "damaged");
    // It has nothing to settle but what it can see; the entry is for the administrator.
    world.set_used("a", &VDI, false);
    assert!(!on(&world, "a", |sr| sr.settle_vdi(&VDI)).unwrap());
    let broken = on(&world, "a", |sr| sr.break_claim(&VDI, false)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
    nothing_is_left(&world, "in the end");
}

#[test]
fn a_release_by_force_asks_this_host_nothing() {
    let world = world();
    activate(&world, "a").unwrap();
    let broken = on(&world, "a", |sr| sr.break_claim(&VDI, true)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
}
