//! The doctor finds each planted fault of a volume by its id, and nothing in an SR that is well.

use sr::doctor::Facts;
use sr::finding::{table, Finding, Kind};
use sr_crucible::memory::Sim;
use sr_crucible::Xapi;

use crate::support::{activate, deactivate, on, sim, volume, VDI};

/// What is found from a host, but for all three targets being on one machine, as those of this file are.
fn look(sim: &Sim, host: &str) -> Vec<Finding> {
    let mut found = on(sim, host, |sr| sr.doctor(&Facts::default())).unwrap();
    found.retain(|finding| finding.kind != &table::ONE_MACHINE);
    found
}

#[track_caller]
fn only(sim: &Sim, host: &str, kind: &'static Kind) -> Finding {
    let mut found = look(sim, host);
    let kinds: Vec<_> = found.iter().map(|finding| finding.kind.id).collect();
    assert_eq!(kinds, [kind.id], "{found:#?}");
    found.remove(0)
}

#[test]
fn a_volume_that_is_well_has_no_finding() {
    let sim = sim();
    assert_eq!(look(&sim, "a"), []);
    activate(&sim, "a").unwrap();
    assert_eq!(look(&sim, "a"), []);
    assert_eq!(look(&sim, "b"), []);
    deactivate(&sim, "a");
    assert_eq!(look(&sim, "a"), []);
}

#[test]
fn targets_on_one_machine_are_found() {
    let sim = sim();
    let found = on(&sim, "a", |sr| sr.doctor(&Facts::default())).unwrap();
    assert_eq!(found[0].kind, &table::ONE_MACHINE);
}

#[test]
fn targets_that_are_down_are_found() {
    let sim = sim();
    let targets = volume().targets;
    sim.set_down(targets[0], true);
    let found = only(&sim, "a", &table::TARGET_DOWN);
    assert!(found.found.contains(&targets[0].to_string()), "{found:?}");
    sim.set_down(targets[1], true);
    only(&sim, "a", &table::TARGETS_DOWN);
}

#[test]
fn a_target_with_another_region_is_found() {
    let sim = sim();
    sim.set_size(volume().targets[0], 1 << 20);
    only(&sim, "a", &table::WRONG_TARGET);
}

#[test]
fn a_server_that_is_gone_or_works_without_a_target_is_found() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.set_downstairs(["active", "faulted", "active"]);
    only(&sim, "a", &table::SERVER_DEGRADED);
    sim.kill_server("a", &VDI);
    only(&sim, "a", &table::SERVER_GONE);
}

#[test]
fn claims_of_dead_and_unknown_hosts_are_found() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.declare_dead("a");
    let found = only(&sim, "b", &table::VOLUME_CLAIM_OF_DEAD);
    assert!(found.since.is_some());
    sim.comes_back("a");
    sim.forget_host("a");
    only(&sim, "b", &table::VOLUME_CLAIM_OF_UNKNOWN);
}

#[test]
fn a_claim_of_an_earlier_boot_is_found_and_repaired() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.power_cycle("a");
    only(&sim, "a", &table::VOLUME_CLAIM_LEFT);
    on(&sim, "a", |sr| sr.repair());
    assert_eq!(look(&sim, "a"), []);
}

#[test]
fn a_claim_that_cannot_be_read_is_found() {
    let sim = sim();
    sim.add(&VDI, "crucible_claim_1", "{").unwrap();
    let found = only(&sim, "a", &table::VOLUME_CLAIM_DAMAGED);
    assert!(found.fix.contains("smblock release"), "{found:?}");
}

#[test]
fn a_server_without_a_claim_is_found() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.forget_and_introduce(&VDI);
    only(&sim, "a", &table::UNCLAIMED_SERVER);
}

#[test]
fn volumes_that_only_one_side_has_are_found() {
    let sim = sim();
    sim.take_off_the_list(&VDI);
    only(&sim, "a", &table::VDI_WITHOUT_VOLUME);
    let sim = self::sim();
    sim.forget_vdi(&VDI);
    only(&sim, "a", &table::VOLUME_WITHOUT_VDI);
}
