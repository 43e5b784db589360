//! A volume is only written with its own key.

use sr_crucible::memory::Sim;
use sr_crucible::{Error, Xapi};

use crate::support::{activate, deactivate, nothing_is_left, on, sim, VDI};

/// Returns the model of an encrypted volume that host a has used.
fn written() -> Sim {
    let sim = sim();
    for host in ["a", "b"] {
        sim.set_key(host, &VDI, "right");
    }
    activate(&sim, "a").unwrap();
    deactivate(&sim, "a");
    sim
}

#[test]
fn a_wrong_key_is_refused_before_anything_is_claimed_or_started() {
    let sim = written();
    let before = sim.sm_config(&VDI).unwrap();
    sim.set_key("b", &VDI, "wrong");
    let refused = activate(&sim, "b").unwrap_err();
    assert!(matches!(refused, Error::WrongKey { .. }), "{refused}");
    nothing_is_left(&sim, "after the refusal");
    assert_eq!(sim.sm_config(&VDI).unwrap(), before);
    sim.set_key("b", &VDI, "right");
    activate(&sim, "b").unwrap();
}

#[test]
fn a_key_that_no_server_could_read_with_is_not_recorded() {
    let sim = sim();
    sim.set_key("a", &VDI, "wrong");
    sim.servers_fail.set(true);
    activate(&sim, "a").unwrap_err();
    sim.servers_fail.set(false);
    sim.set_key("a", &VDI, "right");
    activate(&sim, "a").unwrap();
}

#[test]
fn an_administrator_can_accept_a_new_key_of_an_unused_volume() {
    let sim = written();
    sim.set_key("a", &VDI, "new");
    activate(&sim, "a").unwrap_err();
    on(&sim, "a", |sr| sr.accept(&VDI)).unwrap();
    activate(&sim, "a").unwrap();
    let refused = on(&sim, "a", |sr| sr.accept(&VDI)).unwrap_err();
    assert!(matches!(refused, Error::VdiInUse { .. }), "{refused}");
}

#[test]
fn a_release_keeps_the_key_of_the_volume() {
    let sim = written();
    on(&sim, "b", |sr| sr.break_claim(&VDI, false)).unwrap();
    sim.set_key("b", &VDI, "wrong");
    let refused = activate(&sim, "b").unwrap_err();
    assert!(matches!(refused, Error::WrongKey { .. }), "{refused}");
}

#[test]
fn a_record_that_cannot_be_read_stops_an_activation_with_the_remedy() {
    for key in ["crucible_key", "crucible_regions"] {
        let sim = sim();
        sim.add(&VDI, key, "{").unwrap();
        let text = activate(&sim, "a").unwrap_err().to_string();
        assert!(text.contains(key), "{text}");
        assert!(text.contains("smblock accept"), "{text}");
        nothing_is_left(&sim, key);
    }
}

#[test]
fn a_record_that_was_copied_from_another_vdi_has_no_effect() {
    let sim = sim();
    sim.set_key("a", &VDI, "right");
    let other = "00000000-0000-0000-0000-000000000009";
    let regions = format!(r#"{{"vdi": "{other}", "regions": ["{other}", "{other}", "{other}"]}}"#);
    let key = format!(r#"{{"vdi": "{other}", "fingerprint": "of another"}}"#);
    sim.add(&VDI, "crucible_regions", &regions).unwrap();
    sim.add(&VDI, "crucible_key", &key).unwrap();
    activate(&sim, "a").unwrap();
    let recorded = sim.sm_config(&VDI).unwrap().unwrap();
    assert!(recorded["crucible_key"].contains("right"), "{recorded:?}");
}
