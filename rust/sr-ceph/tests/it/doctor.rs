//! The doctor finds each planted fault by its id, finds nothing in an SR that is well, and changes nothing.

mod catalogue;
mod hosts;
mod images;
mod repair;
mod space;

use crate::support::{Lab, A};
use sr::doctor::Facts;
use sr::finding::{Finding, Kind};

/// What the doctor finds from a host, for a XAPI that has the SR's VDIs.
fn look(lab: &Lab, host: &str) -> Vec<Finding> {
    let before = lab.sim.snapshot();
    let found = lab.run(host, |sr| sr.doctor(&facts(lab))).unwrap();
    assert!(
        lab.sim.snapshot() == before,
        "the doctor has changed the pool"
    );
    found
}

fn facts(lab: &Lab) -> Facts {
    let vdis = lab.keys("vdi.").into_iter().map(|key| {
        format!(
            r#"{{"uuid": "{}", "name": "disk", "sm_config": {{}}}}"#,
            &key["vdi.".len()..]
        )
    });
    let vdis: Vec<_> = vdis.collect();
    let text = format!(
        r#"{{"here": "", "hosts": [], "links": [], "vdis": [{}]}}"#,
        vdis.join(",")
    );
    serde_json::from_str(&text).unwrap()
}

/// The only finding from host A, which is of that kind.
#[track_caller]
fn only(lab: &Lab, kind: &'static Kind) -> Finding {
    let mut found = look(lab, A);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].kind, kind, "{found:#?}");
    found.remove(0)
}

/// Among the findings from host A is one of that kind.
#[track_caller]
fn among(lab: &Lab, kind: &'static Kind) -> Finding {
    let found = look(lab, A);
    let of_kind = found.iter().find(|finding| finding.kind == kind);
    of_kind.unwrap_or_else(|| panic!("{found:#?}")).clone()
}

#[track_caller]
fn nothing(lab: &Lab) {
    assert_eq!(look(lab, A), []);
}
