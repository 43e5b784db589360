use std::collections::BTreeMap;

use super::memory::MemoryBoard;
use super::table::{ALARM_TYPES, HOST_CUT_OFF, RECLAIM, USAGE};
use super::*;
use crate::finding::table as kinds;

const SR: Uuid = Uuid::from_u128(5);
const MASTER: &str = "master";
const OTHER: &str = "other";

fn facts(here: &str) -> CheckFacts {
    let host = |uuid: &str| HostState {
        uuid: uuid.to_owned(),
        live: true,
        plugged: true,
    };
    CheckFacts {
        here: here.to_owned(),
        master: MASTER.to_owned(),
        shared: true,
        hosts: vec![host(OTHER), host(MASTER)],
    }
}

fn check(board: &dyn Board, here: &str, findings: &[Finding]) -> usize {
    let report = Report {
        sr: SR,
        looked_at: ALARM_TYPES.to_vec(),
        findings: findings.to_vec(),
        facts: Some(facts(here)),
    };
    update(board, here, &report).unwrap().len()
}

fn used(percent: u64) -> Finding {
    let found =
        kinds::NEARLY_FULL.found("pool vms", format!("{percent} % are used"), "destroy VDIs");
    found.measured(percent)
}

fn worker() -> Finding {
    kinds::NO_WORKER.found("SR x", "the reclaim worker is gone", "smblock reclaim x")
}

fn cut_off(device: &str) -> Finding {
    kinds::FENCED_DEVICE.found(format!("device {device}"), "all I/O fails", "reboot")
}

/// The names of the alarms that are raised now.
fn names(board: &MemoryBoard) -> Vec<String> {
    let bodies = board.messages().into_iter().map(|message| message.body);
    let names = bodies.map(|body| body.split('"').nth(1).unwrap().to_owned());
    names.collect()
}

#[test]
fn each_alarm_is_raised_once_by_one_host_and_cleared_when_it_is_over() {
    for alarm in ALARM_TYPES {
        for kind in alarm.kinds {
            let board = MemoryBoard::default();
            let mut finding = kind.found("object", "text", "fix");
            if *kind == &kinds::NEARLY_FULL {
                finding = finding.measured(90);
            }
            let hosts = [OTHER, MASTER, OTHER, MASTER];
            let raised = hosts.map(|host| check(&board, host, std::slice::from_ref(&finding)));
            let (expected, class) = match alarm.scope {
                Scope::Sr => ([0, 1, 0, 0], "SR"),
                Scope::Host => ([1, 1, 0, 0], "Host"),
            };
            assert_eq!(raised, expected, "{}", kind.id);
            assert!(names(&board).iter().all(|name| name == alarm.name));
            assert!(board
                .messages()
                .iter()
                .all(|message| message.class == class));
            let kept = [OTHER, MASTER].map(|host| {
                check(&board, host, &[]);
                board.messages().len()
            });
            assert_eq!(kept, [1, 0], "{}", kind.id);
            assert_eq!(board.keys(), [""; 0]);
            assert_eq!(check(&board, MASTER, &[finding]), 1, "{}: again", kind.id);
        }
    }
}

#[test]
fn a_value_that_swings_around_a_threshold_raises_one_alarm() {
    let board = MemoryBoard::default();
    let raised = [84, 85, 84, 86, 83, 85, 95, 93, 96, 94, 95].map(|percent| {
        let raised = check(&board, MASTER, &[used(percent)]);
        assert!(board.messages().len() <= 1);
        raised
    });
    assert_eq!(raised, [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(
        check(&board, MASTER, &[used(92)]),
        1,
        "it is a warning again"
    );
    let body = &board.messages()[0].body;
    assert!(body.starts_with("value: 0.92\nconfig:\n"), "{body}");
    assert!(
        body.contains("<alarm_trigger_level value=\"0.85\"/>"),
        "{body}"
    );
    assert_eq!(check(&board, MASTER, &[used(82)]), 0);
    assert_eq!(board.messages(), []);
}

#[test]
fn a_failure_has_a_higher_priority_than_a_warning() {
    for (percent, priority) in [(85, 3), (95, 2), (100, 2)] {
        let board = MemoryBoard::default();
        check(&board, MASTER, &[used(percent)]);
        assert_eq!(board.messages()[0].priority, priority);
        let value = format!("value: {}.{:02}\n", percent / 100, percent % 100);
        assert!(board.messages()[0].body.starts_with(&value));
    }
}

#[test]
fn a_message_is_replaced_when_its_objects_change() {
    let board = MemoryBoard::default();
    let (a, b) = (cut_off("/dev/rbd0"), cut_off("/dev/rbd1"));
    assert_eq!(check(&board, MASTER, std::slice::from_ref(&a)), 1);
    assert_eq!(check(&board, MASTER, &[a.clone(), b.clone()]), 1);
    assert_eq!(board.messages().len(), 1);
    assert!(board.messages()[0]
        .body
        .contains("/dev/rbd0: all I/O fails; device /dev/rbd1"));
    assert_eq!(check(&board, MASTER, std::slice::from_ref(&b)), 1);
    assert!(!board.messages()[0].body.contains("/dev/rbd0"));
    assert_eq!(
        check(&board, MASTER, &[a, b]),
        1,
        "the first one has failed again"
    );
    assert_eq!(names(&board), [HOST_CUT_OFF.name]);
    let priorities: Vec<_> = board.raised().iter().map(|m| m.priority).collect();
    assert_eq!(
        priorities,
        [2, 2, 4, 2],
        "a mail for each fault, and none for its end"
    );
}

#[test]
fn an_event_is_raised_by_any_host_and_keeps_the_messages_about_others() {
    let board = MemoryBoard::default();
    let dead = |host: &str, life: u32| {
        let found =
            kinds::HOST_DECLARED_DEAD.found(format!("host {host}"), "it was declared dead", "");
        found.event(format!("{host} life {life}"))
    };
    let event = |here: &str, finding| {
        let report = Report::event(SR, vec![finding]);
        update(&board, here, &report).unwrap().len()
    };
    assert_eq!(event(OTHER, dead("a", 0)), 1);
    assert_eq!(event(MASTER, dead("a", 0)), 0);
    assert_eq!(event(OTHER, dead("b", 0)), 1);
    assert_eq!(event(OTHER, dead("a", 1)), 1, "a second declaration");
    assert_eq!(board.messages().len(), 3);
    assert_eq!(check(&board, MASTER, &[dead("b", 0), dead("a", 1)]), 1);
    assert_eq!(
        board.messages().len(),
        1,
        "the check has all of them in one message"
    );
    check(&board, MASTER, &[]);
    assert_eq!(board.messages(), []);
}

#[test]
fn what_was_not_looked_at_stays_raised() {
    let board = MemoryBoard::default();
    check(&board, MASTER, &[used(90), worker()]);
    let report = Report {
        sr: SR,
        looked_at: vec![&USAGE],
        findings: Vec::new(),
        facts: Some(facts(MASTER)),
    };
    update(&board, MASTER, &report).unwrap();
    assert_eq!(names(&board), [RECLAIM.name]);
}

#[test]
fn the_alarms_of_a_host_that_has_left_the_pool_are_cleared() {
    let board = MemoryBoard::default();
    check(&board, "gone", &[cut_off("/dev/rbd0")]);
    check(&board, OTHER, &[]);
    assert_eq!(board.messages().len(), 1);
    check(&board, MASTER, &[]);
    assert_eq!((board.messages().len(), board.keys().len()), (0, 0));
}

#[test]
fn xapi_that_does_not_reply_is_an_error_and_the_alarm_comes_later() {
    let board = MemoryBoard::default();
    let report = Report {
        facts: Some(facts(MASTER)),
        ..Report::event(SR, vec![worker()])
    };
    board.set_refuses(true);
    update(&board, MASTER, &report).unwrap_err();
    board.set_refuses(false);
    assert_eq!(update(&board, MASTER, &report).unwrap().len(), 1);
}

/// A board of which one call fails, or which has read XAPI before another host wrote.
struct Faulty<'b> {
    board: &'b MemoryBoard,
    old_notes: Option<BTreeMap<String, String>>,
    fails: &'static str,
}

impl Faulty<'_> {
    fn fail(&self, call: &str) -> Result<()> {
        let error = crate::host::HostError {
            message: call.to_owned(),
            errno: None,
            id: None,
        };
        if self.fails == call {
            Err(error)
        } else {
            Ok(())
        }
    }
}

impl Board for Faulty<'_> {
    fn notes(&self) -> Result<BTreeMap<String, String>> {
        self.old_notes
            .clone()
            .map_or_else(|| self.board.notes(), Ok)
    }

    fn add_note(&self, key: &str, value: &str) -> Result<bool> {
        self.fail(if key.contains("message") {
            "reference"
        } else {
            "note"
        })?;
        self.board.add_note(key, value)
    }

    fn remove_note(&self, key: &str) -> Result<()> {
        self.fail("remove")?;
        self.board.remove_note(key)
    }

    fn raise(&self, message: &Message) -> Result<String> {
        self.fail("raise")?;
        self.board.raise(message)
    }

    fn destroy(&self, message: &str) -> Result<()> {
        self.fail("destroy")?;
        self.board.destroy(message)
    }
}

#[test]
fn of_two_hosts_that_raise_an_alarm_at_once_one_does() {
    let board = MemoryBoard::default();
    let late = Faulty {
        board: &board,
        old_notes: Some(board.notes().unwrap()),
        fails: "",
    };
    assert_eq!(check(&board, MASTER, &[used(90)]), 1);
    assert_eq!(check(&late, MASTER, &[used(90)]), 0);
    assert_eq!(board.raised().len(), 1);
}

#[test]
fn an_alarm_that_a_fault_interrupts_is_raised_and_cleared_by_later_checks() {
    for fails in ["note", "raise", "reference", "remove", "destroy"] {
        let board = MemoryBoard::default();
        let faulty = Faulty {
            board: &board,
            old_notes: None,
            fails,
        };
        let report = |findings: &[Finding]| Report {
            sr: SR,
            looked_at: vec![&RECLAIM],
            findings: findings.to_vec(),
            facts: Some(facts(MASTER)),
        };
        let _ = update(&faulty, MASTER, &report(&[worker()]));
        for _ in 0..2 {
            check(&board, MASTER, &[worker()]);
        }
        // A message whose reference was lost stays, and a second one is raised.
        let lost = usize::from(fails == "reference");
        assert_eq!(board.messages().len(), 1 + lost, "{fails}");
        let _ = update(&faulty, MASTER, &report(&[]));
        check(&board, MASTER, &[]);
        assert_eq!(board.messages().len(), lost, "{fails}");
        assert_eq!(board.keys(), [""; 0], "{fails}");
    }
}

#[test]
fn a_message_describes_ten_findings_and_counts_the_others() {
    let board = MemoryBoard::default();
    let many: Vec<_> = (0..30).map(|n| cut_off(&format!("/dev/rbd{n}"))).collect();
    check(&board, MASTER, &many);
    let body = &board.messages()[0].body;
    assert!(body.contains("; and 20 more\""), "{body}");
    assert!(board
        .notes()
        .unwrap()
        .values()
        .all(|value| value.len() < 1000));
}
