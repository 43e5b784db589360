//! A target that serves another volume's region destroys two volumes, unless it is refused.

use store::crucible::Error;
use uuid::Uuid;

use super::{activate, deactivate, nothing_is_left, on, volume, world, World, VDI};

const FOREIGN: Uuid = Uuid::from_u128(0xf0);

/// A world with a volume that was served before, from three regions of its own.
fn served_before() -> World {
    let world = world();
    for (number, target) in (1..).zip(volume().targets) {
        world.set_region(target, Uuid::from_u128(number));
    }
    activate(&world, "a").unwrap();
    deactivate(&world, "a");
    world
}

#[test]
fn another_volumes_region_is_refused_before_anything_is_claimed() {
    let world = served_before();
    world.set_region(volume().targets[2], FOREIGN);
    for host in ["a", "b"] {
        let error = activate(&world, host).unwrap_err();
        assert!(matches!(error, Error::TargetsDown { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&volume().targets[2].to_string()), "{text}");
        assert!(text.contains(&FOREIGN.to_string()), "{text}");
        nothing_is_left(&world, host);
    }
}

#[test]
fn a_region_that_was_replaced_on_purpose_is_accepted_after_a_release() {
    let world = served_before();
    world.set_region(volume().targets[0], FOREIGN);
    activate(&world, "a").unwrap_err();
    on(&world, "a", |sr| sr.break_claim(&VDI)).unwrap();
    activate(&world, "a").unwrap();
}

#[test]
fn targets_that_tell_no_region_are_served_as_before() {
    let world = world();
    world.set_region(volume().targets[0], FOREIGN);
    activate(&world, "a").unwrap();
}
