//! When the claim of another host is over, and when it holds.

use sr_crucible::{Error, Hold};

use super::{
    activate, deactivate, is_served_by, nothing_is_left, on, refused, world, Registry, VDI,
};

#[test]
fn a_host_that_is_silent_keeps_its_disk_until_it_is_declared_dead() {
    let world = world();
    activate(&world, "a").unwrap();
    world.set_reachable("a", false);
    for _ in 0..2 {
        let hold = refused(activate(&world, "b"), "a is silent");
        assert_eq!(hold, Hold::Silent);
    }
    world.power_cycle("a");
    world.declare_dead("a");
    activate(&world, "b").unwrap();
    is_served_by(&world, "b", "after the declaration");
}

#[test]
fn a_claim_of_an_earlier_boot_is_over_once_the_host_has_published_the_next() {
    let world = world();
    activate(&world, "a").unwrap();
    world.power_cycle("a");
    // As another SR of this type does, which the host has plugged.
    world.publish_boot("a-1").unwrap();
    activate(&world, "b").unwrap();
    is_served_by(&world, "b", "after the boot");
}

#[test]
fn a_claim_in_the_boot_that_its_host_has_published_holds() {
    let world = world();
    world.publish_boot("a-0").unwrap();
    world.power_cycle("a");
    activate(&world, "a").unwrap();
    refused(activate(&world, "b"), "a has published its boot");
    is_served_by(&world, "a", "although XAPI knew another boot before");
}

#[test]
fn a_claim_of_a_host_that_this_pool_has_forgotten_is_over() {
    let world = world();
    activate(&world, "a").unwrap();
    world.power_cycle("a");
    world.forget_host("a");
    activate(&world, "b").unwrap();
    is_served_by(&world, "b", "after the host was forgotten");
}

#[test]
fn a_claim_of_another_pools_host_is_an_error_that_names_the_remedy() {
    let world = world();
    activate(&world, "a").unwrap();
    world.forget_host("a");
    *world.pool.borrow_mut() = "other".to_owned();
    let refused = activate(&world, "b").unwrap_err();
    assert!(matches!(refused, Error::UnknownHost { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("of pool pool"), "{text}");
    assert!(text.contains("smblock-admin release"), "{text}");
    is_served_by(&world, "a", "in the other pool");
    deactivate(&world, "a");
    world.power_cycle("a");
    activate(&world, "b").unwrap();
}

#[test]
fn an_old_claim_without_a_pool_of_a_forgotten_host_is_not_taken_over() {
    let world = world();
    let claim = r#"{"vdi": "00000000-0000-0000-0000-0000000007d1", "generation": 7, "host": "a",
        "boot_id": "a-0", "since": 0}"#;
    world.add(&VDI, "crucible_claim_1", claim).unwrap();
    world.forget_host("a");
    let refused = activate(&world, "b").unwrap_err();
    assert!(matches!(refused, Error::UnknownHost { .. }), "{refused}");
}

#[test]
fn a_host_that_was_declared_dead_claims_nothing_before_it_plugs_the_sr() {
    let world = world();
    world.declare_dead("a");
    let refused = activate(&world, "a").unwrap_err();
    assert!(matches!(refused, Error::DeclaredDead { .. }), "{refused}");
    nothing_is_left(&world, "after the refusal");
    on(&world, "a", |sr| sr.attach_sr()).unwrap();
    activate(&world, "a").unwrap();
    super::refused(activate(&world, "b"), "a lives again");
}

#[test]
fn a_host_that_lives_gives_up_what_a_killed_command_left_when_it_is_asked() {
    type Leave = fn(&sr_crucible::memory::World);
    let cases: [(&str, Leave); 3] = [
        ("a claim, a server and a device", |_| {}),
        ("no device", |world| world.lose_device("a", &VDI)),
        ("a dead server", |world| world.kill_server("a", &VDI)),
    ];
    for (name, leave) in cases {
        let world = world();
        activate(&world, "a").unwrap();
        // SM has let go: its links are gone.
        world.set_used("a", &VDI, false);
        leave(&world);
        activate(&world, "b").unwrap_or_else(|e| panic!("{name}: {e}"));
        is_served_by(&world, "b", name);
        deactivate(&world, "b");
        nothing_is_left(&world, name);
    }
}

#[test]
fn a_host_that_uses_the_disk_keeps_it_when_it_is_asked() {
    let world = world();
    activate(&world, "a").unwrap();
    let error = activate(&world, "b").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("unplug it there"), "{text}");
    assert_eq!(refused::<()>(Err(error), "in use"), Hold::InUse);
    // Without SM's links, but open: by hand, for example.
    world.set_used("a", &VDI, false);
    world.set_open("a", &VDI, true);
    assert_eq!(refused(activate(&world, "b"), "open"), Hold::InUse);
    world.set_open("a", &VDI, false);
    let working = world.work_on("a", &VDI);
    assert_eq!(refused(activate(&world, "b"), "at work"), Hold::InUse);
    is_served_by(&world, "a", "after three refusals");
    drop(working);
    activate(&world, "b").unwrap();
}

#[test]
fn a_host_that_cannot_tell_keeps_its_disk_and_the_error_has_its_reason() {
    let world = world();
    activate(&world, "a").unwrap();
    world.set_used("a", &VDI, false);
    world.plugins_fail.set(true);
    let error = activate(&world, "b").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the plugin failed"), "{text}");
    assert!(text.contains("xe host-declare-dead uuid=a"), "{text}");
    let hold = refused::<()>(Err(error), "a cannot tell");
    assert!(matches!(hold, Hold::Failed(_)), "{hold:?}");
    is_served_by(&world, "a", "after the refusal");
}

#[test]
fn a_boot_that_only_the_host_itself_tells_ends_its_claims_too() {
    let world = world();
    activate(&world, "a").unwrap();
    world.power_cycle("a");
    activate(&world, "b").unwrap();
    is_served_by(&world, "b", "after a's boot");
}
