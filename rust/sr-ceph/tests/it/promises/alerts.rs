//! The alerts about a host that was declared dead.

use sr::alarm::table::{HOST_CUT_OFF, HOST_FENCED};
use sr::alarm::{AlarmType, Message};
use sr_ceph::host::Mapped;
use uuid::Uuid;

use crate::support::{Lab, A, B, GIB};

/// Returns a disk that host A uses, and its device there.
fn used_by_a() -> (Lab, Uuid, Mapped) {
    let lab = Lab::new();
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    let vdi = lab.create(GIB);
    let mapped = lab.activate(A, &vdi).unwrap();
    lab.sim.set_open(A, &mapped.device, true);
    (lab, vdi, mapped)
}

fn alerts(lab: &Lab, alarm: &AlarmType) -> Vec<Message> {
    let name = format!("<name value=\"{}\"/>", alarm.name);
    let mut raised = lab.sim.board().raised();
    raised.retain(|message| message.body.contains(&name));
    raised
}

/// Returns the alerts that host A raises about itself.
fn cut_off(lab: &Lab) -> Vec<Message> {
    let alerts = alerts(lab, &HOST_CUT_OFF).into_iter();
    alerts
        .inspect(|message| assert_eq!((message.class, message.object.as_str()), ("Host", A)))
        .collect()
}

#[test]
fn each_command_of_a_cut_off_host_raises_one_alert_that_names_its_disks() {
    type Command = fn(&Lab, &Uuid);
    let commands: [(&str, Command); 4] = [
        ("scan", |lab, _| {
            drop(lab.run(A, |sr| sr.scan(&[])).unwrap())
        }),
        ("attach", |lab, _| lab.run(A, |sr| sr.attach_sr()).unwrap()),
        ("activate", |lab, vdi| drop(lab.activate(A, vdi))),
        ("check", |lab, _| lab.run(A, |sr| sr.alert_if_cut_off())),
    ];
    for (name, command) in commands {
        let (lab, vdi, mapped) = used_by_a();
        command(&lab, &vdi);
        assert!(
            lab.sim.board().raised().is_empty(),
            "{name}: A is not cut off"
        );
        lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
        command(&lab, &vdi);
        let raised = cut_off(&lab);
        assert_eq!(raised.len(), 1, "{name}: {raised:?}");
        let device = mapped.device.display().to_string();
        let parts = [A, "fenced", &mapped.client_address, &lab.sr.to_string()];
        for part in parts.into_iter().chain([vdi.to_string().as_str(), &device]) {
            assert!(raised[0].body.contains(part), "{name}: {part}: {raised:?}");
        }
        for (_, again) in commands {
            again(&lab, &vdi);
        }
        assert_eq!(cut_off(&lab).len(), 1, "{name}");
    }
}

#[test]
fn a_second_declaration_raises_a_second_alert() {
    let (lab, vdi, mapped) = used_by_a();
    for times in 1..3 {
        lab.run(B, |sr| sr.declare_dead(A, "user")).unwrap();
        lab.activate(A, &vdi).unwrap_err();
        assert_eq!(cut_off(&lab).len(), times);
        lab.sim.set_open(A, &mapped.device, false);
        let again = lab.activate(A, &vdi).unwrap();
        lab.sim.set_open(A, &again.device, true);
    }
}

#[test]
fn a_host_without_open_disks_reports_that_it_was_declared_dead() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.set_open(A, &mapped.device, false);
    lab.deactivate(A, &vdi).unwrap();
    lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
    lab.activate(A, &vdi).unwrap();
    let raised = cut_off(&lab);
    assert_eq!(raised.len(), 1);
    assert!(
        raised[0]
            .body
            .contains("<fix value=\"none: no device of SR"),
        "{raised:?}"
    );
}

#[test]
fn a_host_that_booted_after_its_death_raises_no_alert() {
    let (lab, vdi, _) = used_by_a();
    lab.sim.power_off(A);
    lab.run(B, |sr| sr.declare_dead(A, "user")).unwrap();
    lab.sim.reboot(A);
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    lab.activate(A, &vdi).unwrap();
    assert_eq!(cut_off(&lab), []);
}

#[test]
fn an_alert_that_xapi_refuses_fails_no_command_and_comes_later() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.set_takes_messages(false);
    lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    lab.run(A, |sr| sr.scan(&[])).unwrap();
    assert_eq!(lab.sim.board().raised(), []);
    lab.sim.set_takes_messages(true);
    lab.run(A, |sr| sr.scan(&[])).unwrap();
    assert_eq!(cut_off(&lab).len(), 1);
    lab.sim.set_open(A, &mapped.device, false);
    lab.activate(A, &vdi).unwrap();
}

#[test]
fn the_host_that_records_a_death_raises_one_alert_with_the_disks() {
    let (lab, vdi, mapped) = used_by_a();
    for _ in 0..2 {
        lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
    }
    let raised = alerts(&lab, &HOST_FENCED);
    assert_eq!(raised.len(), 1);
    let alert = &raised[0];
    assert_eq!(alert.class, "SR");
    for part in [A, &vdi.to_string(), &mapped.client_address, "fenced"] {
        assert!(alert.body.contains(part), "{part}: {alert:?}");
    }
}

#[test]
fn the_host_that_records_a_missed_declaration_raises_the_alert() {
    let (lab, vdi, mapped) = used_by_a();
    let other = lab.create(GIB);
    lab.sim.declare_dead(A, true);
    lab.activate(B, &vdi).unwrap();
    lab.activate(B, &other).unwrap();
    let raised = alerts(&lab, &HOST_FENCED);
    assert_eq!(raised.len(), 1);
    let text = &raised[0].body;
    assert!(text.contains(&vdi.to_string()), "{text}");
    assert!(text.contains(&mapped.client_address), "{text}");
}
