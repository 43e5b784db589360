//! What the check that comes every ten minutes sees of an SR, and the alarms that it raises on hosts of a pool.

use sr::alarm::table::{AlarmType, HOST_CUT_OFF, HOST_FENCED, RECLAIM, USAGE};
use sr::alarm::{CheckFacts, HostState, Message, Report};
use sr::engine::Look;
use sr::finding::table;
use sr_ceph::host::Host;

use crate::support::{Lab, A, B, GIB};

/// What a host does every ten minutes: host A is the master.
fn check(lab: &Lab, here: &str) {
    let hosts = [A, B].map(|uuid| HostState {
        uuid: uuid.to_owned(),
        live: true,
        plugged: true,
    });
    let facts = CheckFacts {
        here: here.to_owned(),
        master: A.to_owned(),
        shared: true,
        hosts: hosts.into(),
    };
    let Look {
        findings,
        looked_at,
        ..
    } = lab.run(here, |sr| sr.look()).unwrap();
    let report = Report {
        sr: lab.sr,
        looked_at,
        findings,
        facts: Some(facts),
    };
    lab.process(here).host.alarm(&report).unwrap();
}

fn raised(lab: &Lab) -> Vec<Message> {
    lab.sim.board().messages()
}

#[track_caller]
fn only(lab: &Lab, alarm: &AlarmType) -> Message {
    let mut messages = raised(lab);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    let name = format!("<name value=\"{}\"/>", alarm.name);
    assert!(messages[0].body.contains(&name), "{messages:?}");
    messages.remove(0)
}

#[test]
fn an_sr_that_is_well_raises_nothing_and_is_not_changed() {
    let (lab, disk) = Lab::with_disk();
    lab.snapshot(&disk);
    lab.activate(B, &disk).unwrap();
    let before = lab.sim.snapshot();
    for host in [A, B] {
        check(&lab, host);
    }
    assert_eq!(raised(&lab), []);
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn a_full_pool_raises_one_alarm_in_the_pool() {
    let (lab, _) = Lab::with_disk();
    lab.sim.set_quota(100 * GIB);
    for (stored, count) in [(84, 0), (86, 1), (83, 1), (87, 1), (96, 2), (94, 2)] {
        lab.sim.set_stored(stored * GIB);
        for host in [B, A, B, A] {
            check(&lab, host);
        }
        assert_eq!(lab.sim.board().raised().len(), count, "{stored}");
        assert!(raised(&lab).len() <= 1);
    }
    let message = only(&lab, &USAGE);
    assert_eq!((message.class, message.priority), ("SR", 2));
    lab.sim.set_stored(10 * GIB);
    check(&lab, A);
    assert_eq!(raised(&lab), []);
}

#[test]
fn space_that_is_not_freed_for_twelve_hours_raises_an_alarm() {
    let (lab, disk) = Lab::with_disk();
    lab.run(A, |sr| sr.delete_vdi(&disk)).unwrap();
    check(&lab, A);
    lab.sim.advance_seconds(11 * 3600);
    check(&lab, A);
    assert_eq!(raised(&lab), []);
    lab.sim.advance_seconds(3600);
    check(&lab, A);
    let message = only(&lab, &RECLAIM);
    assert!(message.body.contains(table::NOT_FREED.id), "{message:?}");
    lab.settle();
    check(&lab, A);
    assert_eq!(raised(&lab), []);
}

#[test]
fn a_host_that_is_cut_off_and_the_declaration_are_alarms_until_it_is_back() {
    let (lab, disk) = Lab::with_disk();
    lab.run(B, |sr| sr.attach_sr()).unwrap();
    let mapped = lab.activate(B, &disk).unwrap();
    lab.sim.set_open(B, &mapped.device, true);
    lab.run(A, |sr| sr.declare_dead(B, "fenced")).unwrap();
    only(&lab, &HOST_FENCED);
    for _ in 0..2 {
        check(&lab, B);
        check(&lab, A);
    }
    let raised_so_far = lab.sim.board().raised();
    assert_eq!(raised_so_far.len(), 2, "{raised_so_far:#?}");
    let own = &raised_so_far[1];
    assert_eq!((own.class, own.object.as_str()), ("Host", B));
    assert!(own.body.contains(HOST_CUT_OFF.name), "{own:?}");
    let health = lab.run(B, |sr| sr.look()).unwrap().health;
    assert_eq!(health.cut_off, 1);
    lab.sim.reboot(B);
    lab.run(B, |sr| sr.attach_sr()).unwrap();
    for host in [B, A] {
        check(&lab, host);
    }
    assert_eq!(raised(&lab), []);
    assert_eq!(
        lab.sim.board().raised().len(),
        2,
        "a reboot raises none again"
    );
}

#[test]
fn the_alarm_about_a_dead_host_ends_when_it_is_removed_from_the_pool() {
    let (lab, disk) = Lab::with_disk();
    lab.activate(B, &disk).unwrap();
    lab.sim.power_off(B);
    lab.run(A, |sr| sr.declare_dead(B, "user")).unwrap();
    check(&lab, A);
    only(&lab, &HOST_FENCED);
    lab.sim.set_pool(B, "another pool");
    check(&lab, A);
    assert_eq!(raised(&lab), []);
}

#[test]
fn the_numbers_are_those_of_the_overview() {
    let lab = Lab::with_some_of_each();
    let overview = lab.run(A, |sr| sr.overview()).unwrap();
    let health = lab.run(A, |sr| sr.look()).unwrap().health;
    assert!(health.up);
    assert_eq!(
        (health.disks, health.snapshots),
        (overview.disks, overview.snapshots)
    );
    assert_eq!((health.size, health.free), (overview.size, overview.free));
    assert_eq!(health.allocated, overview.allocated);
    assert_eq!(health.used, Some(2 * GIB));
    assert_eq!(health.reserve, Some(10 * GIB / 16));
    let backlog = overview.backlog.unwrap();
    assert_eq!(health.backlog_images, Some(backlog.images));
    assert_eq!(health.backlog_bytes, Some(backlog.bytes));
    assert_eq!((health.claims, health.claims_here), (1, 0));
    let of_b = lab.run(B, |sr| sr.look()).unwrap().health;
    assert_eq!(of_b.claims_here, 1);
}
