//! On which grounds the claim of another host is over.

use sr_crucible::{Error, Hold, Xapi};

use crate::support::{activate, deactivate, is_served_by, nothing_is_left, on, refused, sim, VDI};

#[test]
fn a_host_that_is_silent_keeps_its_disk_until_it_is_declared_dead() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.set_reachable("a", false);
    for _ in 0..2 {
        let hold = refused(activate(&sim, "b"), "a is silent");
        assert_eq!(hold, Hold::Silent);
    }
    sim.power_cycle("a");
    sim.declare_dead("a");
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after the declaration");
}

#[test]
fn a_claim_of_an_earlier_boot_is_over_once_the_host_has_published_the_next() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.power_cycle("a");
    // Another SR of this type publishes the boot, when it is plugged.
    sim.publish_boot("a-1").unwrap();
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after the boot");
}

#[test]
fn a_claim_in_the_boot_that_its_host_has_published_holds() {
    let sim = sim();
    sim.publish_boot("a-0").unwrap();
    sim.power_cycle("a");
    activate(&sim, "a").unwrap();
    refused(activate(&sim, "b"), "a has published its boot");
    is_served_by(&sim, "a", "although XAPI knew another boot before");
}

#[test]
fn a_claim_of_a_host_that_this_pool_has_forgotten_is_over() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.power_cycle("a");
    sim.forget_host("a");
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after the host was forgotten");
}

#[test]
fn a_claim_of_another_pools_host_is_an_error_that_names_the_remedy() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.forget_host("a");
    *sim.pool.borrow_mut() = "other".to_owned();
    let refused = activate(&sim, "b").unwrap_err();
    assert!(matches!(refused, Error::UnknownHost { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("of pool pool"), "{text}");
    assert!(text.contains("smblock release"), "{text}");
    is_served_by(&sim, "a", "in the other pool");
    deactivate(&sim, "a");
    sim.power_cycle("a");
    activate(&sim, "b").unwrap();
}

#[test]
fn an_old_claim_without_a_pool_of_a_forgotten_host_is_not_taken_over() {
    let sim = sim();
    let claim = r#"{"vdi": "00000000-0000-0000-0000-0000000007d1", "generation": 7, "host": "a",
        "boot_id": "a-0", "since": 0}"#;
    sim.add(&VDI, "crucible_claim_1", claim).unwrap();
    sim.forget_host("a");
    let refused = activate(&sim, "b").unwrap_err();
    assert!(matches!(refused, Error::UnknownHost { .. }), "{refused}");
}

#[test]
fn a_host_that_was_declared_dead_claims_nothing_before_it_plugs_the_sr() {
    let sim = sim();
    sim.declare_dead("a");
    let error = activate(&sim, "a").unwrap_err();
    assert!(matches!(error, Error::DeclaredDead { .. }), "{error}");
    nothing_is_left(&sim, "after the refusal");
    on(&sim, "a", |sr| sr.attach_sr()).unwrap();
    activate(&sim, "a").unwrap();
    refused(activate(&sim, "b"), "a lives again");
}

#[test]
fn a_living_host_that_is_asked_removes_what_a_killed_command_left() {
    type Leave = fn(&sr_crucible::memory::Sim);
    let cases: [(&str, Leave); 3] = [
        ("a claim, a server and a device", |_| {}),
        ("no device", |sim| sim.lose_device("a", &VDI)),
        ("a dead server", |sim| sim.kill_server("a", &VDI)),
    ];
    for (name, leave) in cases {
        let sim = sim();
        activate(&sim, "a").unwrap();
        // SM's links are gone.
        sim.set_used("a", &VDI, false);
        leave(&sim);
        activate(&sim, "b").unwrap_or_else(|e| panic!("{name}: {e}"));
        is_served_by(&sim, "b", name);
        deactivate(&sim, "b");
        nothing_is_left(&sim, name);
    }
}

#[test]
fn a_host_that_uses_the_disk_keeps_it_when_it_is_asked() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    let error = activate(&sim, "b").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("unplug it there"), "{text}");
    assert_eq!(refused::<()>(Err(error), "in use"), Hold::InUse);
    // Without SM's links, but open: by hand, for example.
    sim.set_used("a", &VDI, false);
    sim.set_open("a", &VDI, true);
    assert_eq!(refused(activate(&sim, "b"), "open"), Hold::InUse);
    sim.set_open("a", &VDI, false);
    let working = sim.work_on("a", &VDI);
    assert_eq!(refused(activate(&sim, "b"), "at work"), Hold::InUse);
    is_served_by(&sim, "a", "after three refusals");
    drop(working);
    activate(&sim, "b").unwrap();
}

#[test]
fn a_host_whose_plugin_fails_keeps_its_disk_and_the_error_has_the_reason() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.set_used("a", &VDI, false);
    sim.plugins_fail.set(true);
    let error = activate(&sim, "b").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the plugin failed"), "{text}");
    assert!(text.contains("xe host-declare-dead uuid=a"), "{text}");
    let hold = refused::<()>(Err(error), "a cannot tell");
    assert!(matches!(hold, Hold::Failed(_)), "{hold:?}");
    is_served_by(&sim, "a", "after the refusal");
}

#[test]
fn a_new_boot_in_the_reply_of_a_host_ends_its_earlier_claims() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.power_cycle("a");
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after a's boot");
}
