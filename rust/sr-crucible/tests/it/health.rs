//! What the check that comes every ten minutes sees of volumes, and the alarms that it raises.

use sr::alarm::table::{REDUNDANCY, SERVER};
use sr::alarm::{update, CheckFacts, HostState, Report};
use sr::engine::Look;
use sr::finding::table;
use sr_crucible::memory::Sim;
use sr_crucible::{ended_server, Xapi};
use uuid::Uuid;

use crate::support::{activate, deactivate, on, volume, VDI};

/// A volume whose targets are on more than one machine.
fn sim() -> Sim {
    let mut volume = volume();
    volume.targets[0].set_ip([192, 0, 2, 2].into());
    Sim::new(vec![volume])
}

/// What a host does every ten minutes: host a is the master. Returns the alarms that are raised then.
fn check(sim: &Sim, here: &str) -> Vec<String> {
    let hosts = ["a", "b"].map(|uuid| HostState {
        uuid: uuid.to_owned(),
        live: true,
        plugged: true,
    });
    let facts = CheckFacts {
        here: here.to_owned(),
        master: "a".to_owned(),
        shared: true,
        hosts: hosts.into(),
    };
    let Look {
        findings,
        looked_at,
        ..
    } = on(sim, here, |sr| sr.look()).unwrap();
    let report = Report {
        sr: Uuid::nil(),
        looked_at,
        findings,
        facts: Some(facts),
    };
    update(&sim.board, here, &report).unwrap();
    alarms(sim)
}

fn alarms(sim: &Sim) -> Vec<String> {
    let bodies = sim.board.messages().into_iter().map(|message| message.body);
    let names = bodies.filter_map(|body| Some(body.split('"').nth(1)?.to_owned()));
    names.collect()
}

#[test]
fn a_target_that_is_down_raises_one_alarm_on_the_sr_until_it_is_back() {
    let sim = sim();
    let target = volume().targets[1];
    for _ in 0..2 {
        assert_eq!(check(&sim, "a"), [""; 0]);
        sim.set_down(target, true);
        assert_eq!(check(&sim, "b"), [""; 0], "the master raises it");
        assert_eq!(check(&sim, "a"), [REDUNDANCY.name]);
        assert_eq!(check(&sim, "a").len(), 1);
        let body = sim.board.messages()[0].body.clone();
        assert!(body.contains(&target.to_string()), "{body}");
        assert!(body.contains(&VDI.to_string()), "{body}");
        sim.set_down(target, false);
    }
    assert_eq!(check(&sim, "a"), [""; 0]);
    assert_eq!(sim.board.raised().len(), 2);
}

#[test]
fn a_second_target_that_is_down_raises_a_failure() {
    let sim = sim();
    sim.set_down(volume().targets[1], true);
    check(&sim, "a");
    sim.set_down(volume().targets[2], true);
    check(&sim, "a");
    let priorities: Vec<_> = sim.board.raised().iter().map(|m| m.priority).collect();
    assert_eq!(priorities, [3, 2]);
    assert_eq!(sim.board.messages().len(), 1);
}

#[test]
fn a_server_that_has_died_raises_one_alarm_on_its_host() {
    let sim = sim();
    activate(&sim, "b").unwrap();
    sim.kill_server("b", &VDI);
    assert_eq!(check(&sim, "b"), [""; 0], "it may still be starting");
    // Its supervisor reports it at once.
    let ended = ended_server(&VDI, "disk", "b", "killed");
    update(&sim.board, "b", &Report::event(Uuid::nil(), vec![ended])).unwrap();
    sim.now.set(sim.now.get() + 600);
    assert_eq!(check(&sim, "a"), [SERVER.name]);
    assert_eq!(check(&sim, "b"), [SERVER.name]);
    assert_eq!(sim.board.raised().len(), 1);
    let message = &sim.board.messages()[0];
    assert_eq!((message.class, message.object.as_str()), ("Host", "b"));
    deactivate(&sim, "b");
    assert_eq!(check(&sim, "b"), [""; 0]);
}

#[test]
fn a_server_that_works_without_a_target_raises_an_alarm() {
    let sim = sim();
    activate(&sim, "a").unwrap();
    sim.now.set(sim.now.get() + 600);
    assert_eq!(check(&sim, "a"), [""; 0]);
    sim.set_downstairs(["active", "connecting (wait_quorum)", "active"]);
    assert_eq!(check(&sim, "a"), [SERVER.name]);
    let body = &sim.board.messages()[0].body;
    assert!(
        body.contains("its server's target 192.0.2.1:3811 is connecting"),
        "{body}"
    );
}

#[test]
fn the_numbers_count_volumes_and_claims() {
    let sim = sim();
    activate(&sim, "b").unwrap();
    let health = on(&sim, "a", |sr| sr.look()).unwrap().health;
    assert!(health.up);
    assert_eq!((health.disks, health.claims, health.claims_here), (1, 1, 0));
    let health = on(&sim, "b", |sr| sr.look()).unwrap().health;
    assert_eq!(health.claims_here, 1);
    assert_eq!(health.allocated, volume().size);
}

#[test]
fn a_list_that_cannot_be_read_is_an_error() {
    let sim = sim();
    sim.a_sled_is_away.set(true);
    on(&sim, "a", |sr| sr.look()).unwrap_err();
    assert!(sim.vdis().is_ok());
    assert_eq!(table::NO_CATALOGUE.id, "SMB-F105");
}
