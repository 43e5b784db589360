//! Which host has a volume: claims, generations, and what an administrator can release.

use sr::xapi::{XapiFields, XapiVdi};
use sr_crucible::memory::Sim;
use sr_crucible::{Error, Hold, Xapi};

use crate::support::{
    activate, activation, deactivate, is_served_by, nothing_is_left, on, open_claim, refused, sim,
    volume, VDI,
};

#[test]
fn a_running_host_that_was_declared_dead_is_fenced_and_cleaned_up_later() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.declare_dead("a");
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after the take-over");
    sim.comes_back("a");
    deactivate(&sim, "a");
    is_served_by(&sim, "b", "after the first host has let go");
    deactivate(&sim, "b");
    nothing_is_left(&sim, "in the end");
}

#[test]
fn a_clock_that_is_set_back_a_day_makes_no_generation_twice() {
    let sim = sim();
    for _ in 0..3 {
        activate(&sim, "a").unwrap();
        deactivate(&sim, "a");
        sim.now.set(sim.now.get() - 86_400);
        activate(&sim, "b").unwrap();
        deactivate(&sim, "b");
    }
    nothing_is_left(&sim, "in the end");
}

#[test]
fn a_vdi_that_xapi_forgot_gets_higher_generations_than_before() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    deactivate(&sim, "a");
    sim.forget_and_introduce(&VDI);
    sim.now.set(sim.now.get() + 1);
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after the VDI was introduced again");
}

#[test]
fn a_server_that_does_not_come_up_spends_its_generation_and_leaves_nothing() {
    let sim = sim();
    sim.servers_fail.set(true);
    for host in ["a", "b", "a"] {
        activate(&sim, host).unwrap_err();
        nothing_is_left(&sim, host);
    }
    sim.servers_fail.set(false);
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after the failures");
}

#[test]
fn a_target_that_is_down_is_named_and_nothing_is_claimed_or_started() {
    let sim = sim();
    let target = volume().targets[1];
    sim.set_down(target, true);
    let error = activate(&sim, "a").unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:3811 is down"), "{error}");
    assert!(!error.contains("3810"), "{error}");
    assert_eq!(sim.sm_config(&VDI).unwrap().unwrap().len(), 0);
    nothing_is_left(&sim, "after the refusal");
    sim.set_down(target, false);
    activate(&sim, "a").unwrap();
}

#[test]
fn plugging_twice_gives_the_same_device_and_starts_nothing() {
    let sim = sim();
    let device = activate(&sim, "a").unwrap();
    let before = open_claim(&sim);
    assert_eq!(activate(&sim, "a").unwrap(), device);
    assert_eq!(open_claim(&sim), before);
}

#[test]
fn the_next_plug_replaces_a_dead_server_but_not_under_an_open_device() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.set_open("a", &VDI, true);
    sim.kill_server("a", &VDI);
    let error = activate(&sim, "a").unwrap_err();
    assert_eq!(error.errno(), Some(nix::libc::EBUSY), "{error}");
    sim.set_open("a", &VDI, false);
    activate(&sim, "a").unwrap();
    is_served_by(&sim, "a", "after the device was closed");
}

#[test]
fn reading_needs_the_claim_too() {
    let sim = sim();
    let read = || on(&sim, "a", |sr| sr.activate(&VDI, false));
    let device = activation(&sim, "a", read).unwrap();
    assert!(device.read_only);
    refused(on(&sim, "b", |sr| sr.activate(&VDI, false)), "a reads");
}

#[test]
fn the_log_of_a_disk_does_not_grow() {
    let sim = sim();
    for _ in 0..20 {
        activate(&sim, "a").unwrap();
        deactivate(&sim, "a");
    }
    let keys = sim.sm_config(&VDI).unwrap().unwrap().len();
    assert!(keys <= 2, "{keys} keys");
}

#[test]
fn an_old_entry_that_sm_restores_changes_nothing() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    let old = sim.sm_config(&VDI).unwrap().unwrap();
    deactivate(&sim, "a");
    activate(&sim, "b").unwrap();
    for (key, value) in old {
        sim.add(&VDI, &key, &value).unwrap();
    }
    is_served_by(&sim, "b", "with the old claim in place");
    refused(activate(&sim, "a"), "b has it");
}

#[test]
fn an_sr_is_not_unplugged_under_a_disk_in_use() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    let refused = on(&sim, "a", |sr| sr.detach_sr());
    assert!(matches!(refused, Err(Error::SrInUse { .. })), "{refused:?}");
    is_served_by(&sim, "a", "after the refusal");
    on(&sim, "b", |sr| sr.detach_sr()).unwrap();
    on(&sim, "a", |sr| sr.attach_sr()).unwrap();
    is_served_by(&sim, "a", "after plugging the SR again");
}

#[test]
fn only_an_administrator_releases_the_claim_of_a_silent_host() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.set_reachable("a", false);
    let hold = refused(activate(&sim, "b"), "a is silent");
    assert_eq!(hold, Hold::Silent);
    let text = not_released(&sim);
    assert!(text.contains("xe host-declare-dead uuid=a"), "{text}");
    sim.power_cycle("a");
    let broken = on(&sim, "b", |sr| sr.break_claim(&VDI, true)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
    activate(&sim, "b").unwrap();
    is_served_by(&sim, "b", "after the claim was broken");
}

/// Returns the text of host b's refusal to release the claim. Checks that the claim stays.
fn not_released(sim: &Sim) -> String {
    let before = open_claim(sim);
    let refused = on(sim, "b", |sr| sr.break_claim(&VDI, false)).unwrap_err();
    assert_eq!(open_claim(sim), before);
    assert!(matches!(refused, Error::NotReleased { .. }), "{refused}");
    refused.to_string()
}

#[test]
fn a_release_is_refused_while_the_living_host_uses_the_volume() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.set_used("a", &VDI, true);
    let text = not_released(&sim);
    assert!(text.contains("unplug it there"), "{text}");
    is_served_by(&sim, "a", "after the refusal");
    sim.power_cycle("a");
    sim.declare_dead("a");
    let broken = on(&sim, "b", |sr| sr.break_claim(&VDI, false)).unwrap();
    assert_eq!(broken.unwrap().host, "a");
}

#[test]
fn a_damaged_log_stops_all_hosts_until_an_administrator_clears_it() {
    let sim = sim();
    sim.add(&VDI, "crucible_claim_1", "{").unwrap();
    let refused = activate(&sim, "a");
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    assert_eq!(
        on(&sim, "a", |sr| sr.break_claim(&VDI, false)).unwrap(),
        None
    );
    activate(&sim, "a").unwrap();
    is_served_by(&sim, "a", "after the entry was removed");
}

#[test]
fn a_disk_in_use_stays_in_the_sr_when_its_volume_leaves_the_list() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    let known = || {
        let sm_config = sim.sm_config(&VDI).unwrap().unwrap();
        let fields = XapiFields {
            sm_config,
            ..XapiFields::default()
        };
        [XapiVdi {
            uuid: VDI,
            size: 1,
            utilisation: 0,
            fields,
        }]
    };
    sim.take_off_the_list(&VDI);
    let scan = || on(&sim, "b", |sr| sr.scan(&known())).unwrap().vdis.len();
    assert_eq!(scan(), 1);
    deactivate(&sim, "a");
    assert_eq!(scan(), 0);
}
