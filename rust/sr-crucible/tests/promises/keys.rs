//! Nothing is written with another key than a volume was written with.

use sr_crucible::Error;

use super::{activate, deactivate, nothing_is_left, on, world, Registry, World, VDI};

/// A world with an encrypted volume that host a has used.
fn written() -> World {
    let world = world();
    for host in ["a", "b"] {
        world.set_key(host, &VDI, "right");
    }
    activate(&world, "a").unwrap();
    deactivate(&world, "a");
    world
}

#[test]
fn a_wrong_key_is_refused_before_anything_is_claimed_or_started() {
    let world = written();
    let before = world.sm_config(&VDI).unwrap();
    world.set_key("b", &VDI, "wrong");
    let refused = activate(&world, "b").unwrap_err();
    assert!(matches!(refused, Error::WrongKey { .. }), "{refused}");
    nothing_is_left(&world, "after the refusal");
    assert_eq!(world.sm_config(&VDI).unwrap(), before);
    world.set_key("b", &VDI, "right");
    activate(&world, "b").unwrap();
}

#[test]
fn a_key_that_no_server_could_read_with_is_not_recorded() {
    let world = world();
    world.set_key("a", &VDI, "wrong");
    world.servers_fail.set(true);
    activate(&world, "a").unwrap_err();
    world.servers_fail.set(false);
    world.set_key("a", &VDI, "right");
    activate(&world, "a").unwrap();
}

#[test]
fn an_administrator_makes_a_new_key_the_volumes_but_not_while_it_is_used() {
    let world = written();
    world.set_key("a", &VDI, "new");
    activate(&world, "a").unwrap_err();
    on(&world, "a", |sr| sr.accept(&VDI)).unwrap();
    activate(&world, "a").unwrap();
    let refused = on(&world, "a", |sr| sr.accept(&VDI)).unwrap_err();
    assert!(matches!(refused, Error::VdiInUse { .. }), "{refused}");
}

#[test]
fn a_release_keeps_the_key_of_the_volume() {
    let world = written();
    on(&world, "b", |sr| sr.break_claim(&VDI, false)).unwrap();
    world.set_key("b", &VDI, "wrong");
    let refused = activate(&world, "b").unwrap_err();
    assert!(matches!(refused, Error::WrongKey { .. }), "{refused}");
}

#[test]
fn a_record_that_cannot_be_read_stops_an_activation_with_the_remedy() {
    for key in ["crucible_key", "crucible_regions"] {
        let world = world();
        world.add(&VDI, key, "{").unwrap();
        let text = activate(&world, "a").unwrap_err().to_string();
        assert!(text.contains(key), "{text}");
        assert!(text.contains("smblock-admin accept"), "{text}");
        nothing_is_left(&world, key);
    }
}

#[test]
fn a_record_of_the_vdi_that_a_vdi_was_copied_from_says_nothing() {
    let world = world();
    world.set_key("a", &VDI, "right");
    let other = "00000000-0000-0000-0000-000000000009";
    let regions = format!(r#"{{"vdi": "{other}", "regions": ["{other}", "{other}", "{other}"]}}"#);
    let key = format!(r#"{{"vdi": "{other}", "fingerprint": "of another"}}"#);
    world.add(&VDI, "crucible_regions", &regions).unwrap();
    world.add(&VDI, "crucible_key", &key).unwrap();
    activate(&world, "a").unwrap();
    let recorded = world.sm_config(&VDI).unwrap().unwrap();
    assert!(recorded["crucible_key"].contains("right"), "{recorded:?}");
}
