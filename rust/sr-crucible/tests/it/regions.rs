//! A target that serves another volume's region is refused: it would destroy both volumes.

use sr_crucible::memory::Sim;
use sr_crucible::Error;
use uuid::Uuid;

use crate::support::{activate, deactivate, nothing_is_left, on, sim, volume, VDI};

const FOREIGN: Uuid = Uuid::from_u128(0xf0);

/// Returns the model of a volume that was served before, from three regions of its own.
fn served_before() -> Sim {
    let sim = sim();
    for (number, target) in (1..).zip(volume().targets) {
        sim.set_region(target, Uuid::from_u128(number));
    }
    activate(&sim, "a").unwrap();
    deactivate(&sim, "a");
    sim
}

#[test]
fn another_volumes_region_is_refused_before_anything_is_claimed() {
    let sim = served_before();
    sim.set_region(volume().targets[2], FOREIGN);
    for host in ["a", "b"] {
        let error = activate(&sim, host).unwrap_err();
        assert!(matches!(error, Error::TargetsDown { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&volume().targets[2].to_string()), "{text}");
        assert!(text.contains(&FOREIGN.to_string()), "{text}");
        nothing_is_left(&sim, host);
    }
}

#[test]
fn a_region_that_was_replaced_is_accepted_after_smblock_admin_accept() {
    let sim = served_before();
    sim.set_region(volume().targets[0], FOREIGN);
    activate(&sim, "a").unwrap_err();
    on(&sim, "a", |sr| sr.accept(&VDI)).unwrap();
    activate(&sim, "a").unwrap();
}

#[test]
fn targets_that_report_no_region_are_served() {
    let sim = sim();
    sim.set_region(volume().targets[0], FOREIGN);
    activate(&sim, "a").unwrap();
}

#[test]
fn a_declared_region_counts_before_the_volume_was_ever_served() {
    let mut volume = volume();
    volume.regions = Some([1, 2, 3].map(Uuid::from_u128));
    let targets = volume.targets;
    let sim = Sim::new(vec![volume]);
    let hidden = activate(&sim, "a").unwrap_err().to_string();
    assert!(
        hidden.contains("does not report which region it serves"),
        "{hidden}"
    );
    for (number, target) in (1..).zip(targets) {
        sim.set_region(target, Uuid::from_u128(number));
    }
    sim.set_region(targets[1], FOREIGN);
    let foreign = activate(&sim, "a").unwrap_err().to_string();
    assert!(foreign.contains(&FOREIGN.to_string()), "{foreign}");
    sim.set_region(targets[1], Uuid::from_u128(2));
    activate(&sim, "a").unwrap();
}

#[test]
fn a_check_finds_a_target_that_serves_another_volumes_region() {
    let sim = served_before();
    sim.set_region(volume().targets[2], FOREIGN);
    let told = seen_by_a_check(&sim);
    assert!(told.contains(&FOREIGN.to_string()), "{told}");
}

#[test]
fn a_check_finds_a_size_that_differs_from_the_declared_one() {
    let sim = sim();
    sim.set_size(volume().targets[1], 1 << 20);
    let told = seen_by_a_check(&sim);
    assert!(
        told.contains("192.0.2.1:3811 has a region of 1048576 bytes"),
        "{told}"
    );
    sim.set_size(volume().targets[1], 1 << 30);
    assert!(!seen_by_a_check(&sim).contains("has a region of"));
}

/// Returns what a check finds about the volume.
fn seen_by_a_check(sim: &Sim) -> String {
    let look = on(sim, "a", |sr| sr.look()).unwrap();
    let found = look.findings.into_iter().map(|finding| finding.found);
    found.collect::<Vec<_>>().join("; ")
}
