//! Raises and clears alarms: compares what was found with what was raised before.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hostos::{Deadline, LockFile};

use super::alarming::{alarming, Alarming};
use super::body::body;
use super::note::{Note, Noted};
use super::{AlarmType, Board, Message, Report, Scope};
use crate::finding::Severity;
use crate::host::Result;

/// XAPI's priorities.
const MAJOR: u8 = 2;
const WARNING: u8 = 3;
/// Something is over, and the rest is not: mail-alarm sends no mail.
const IMPROVED: u8 = 4;
/// An update of alarms takes at most as long as some calls of XAPI.
const LOCK_DEADLINE: Duration = Duration::from_secs(15);
/// How many findings a message describes. It states how many more there are.
const DESCRIBED: usize = 10;

/// Raises what is new, and clears what is over. `here`: the UUID of this host. Returns the messages that were
/// created.
///
/// # Errors
/// The first error of XAPI. What was not done is done by the next check.
pub fn update(board: &dyn Board, here: &str, report: &Report) -> Result<Vec<Message>> {
    let notes = board.notes()?;
    let (mut raised, mut failed) = (Vec::new(), Ok(()));
    let leads = report.facts.as_ref().is_none_or(|facts| facts.is_leader());
    for alarm in &report.looked_at {
        if alarm.scope == Scope::Sr && !leads {
            continue;
        }
        let step = Step {
            board,
            alarm,
            report,
            here,
            noted: Noted::of(alarm, here, &notes),
        };
        match step.run() {
            Ok(message) => raised.extend(message),
            Err(error) if failed.is_ok() => failed = Err(error),
            Err(_) => {}
        }
    }
    if let Some(facts) = report.facts.as_ref().filter(|_| leads) {
        for noted in Noted::of_other_hosts(&notes, |host| facts.has_host(host)) {
            clear(board, &noted)?;
        }
    }
    failed.map(|()| raised)
}

/// As [`update`], by one process of this host at a time. Logs what was raised.
///
/// # Errors
/// As [`update`], and if the lock cannot be used.
pub fn update_alone(board: &dyn Board, here: &str, report: &Report) -> Result<()> {
    let directory = Path::new("/run/smblock/alarms");
    hostos::files::create_directory(directory)?;
    let path = directory.join(format!("{}.lock", report.sr));
    let Some(_lock) = LockFile::acquire(&path, Deadline::after(LOCK_DEADLINE))? else {
        log::warn!(
            "SR {}: another process raises alarms; the next check raises these",
            report.sr
        );
        return Ok(());
    };
    for message in update(board, here, report)? {
        log::warn!("SR {}: raised an alarm: {}", report.sr, message.body);
    }
    Ok(())
}

struct Step<'s> {
    board: &'s dyn Board,
    alarm: &'static AlarmType,
    report: &'s Report,
    here: &'s str,
    noted: Noted,
}

impl Step<'_> {
    fn run(&self) -> Result<Option<Message>> {
        let before = self.noted.note.clone().unwrap_or_default();
        let findings = self.report.findings.iter();
        let concerned: Vec<_> = findings.filter(|f| self.alarm.covers(f.kind)).collect();
        let found = alarming(&concerned, &before.of);
        let now: BTreeSet<String> = found.iter().map(|each| each.identity.clone()).collect();
        if self.report.facts.is_none() {
            return match now.is_subset(&before.of) {
                true => Ok(None),
                false => self.raise_event(before.of, now, &found),
            };
        }
        if self.noted.note.is_none() {
            return match now.is_empty() {
                true => Ok(None),
                false => self.raise(now, &self.message(&found), &[]),
            };
        }
        if now.is_empty() {
            return clear(self.board, &self.noted).map(|()| None);
        }
        if now == before.of {
            return match (self.noted.messages.is_empty(), before.unfinished) {
                (false, _) => Ok(None),
                (true, true) => self.create(&self.message(&found), &[]).map(Some),
                (true, false) => self.mark_unfinished(now).map(|()| None),
            };
        }
        let mut message = self.message(&found);
        if now.is_subset(&before.of) {
            message.priority = IMPROVED;
        }
        clear(self.board, &self.noted)?;
        self.raise(now, &message, &[])
    }

    /// An event does not show whether the earlier ones are over: their messages stay.
    fn raise_event(
        &self,
        before: BTreeSet<String>,
        mut now: BTreeSet<String>,
        found: &[Alarming],
    ) -> Result<Option<Message>> {
        if self.noted.note.is_some() {
            self.board.remove_note(&self.noted.note_key())?;
        }
        now.extend(before);
        self.raise(now, &self.message(found), &self.noted.messages)
    }

    fn mark_unfinished(&self, of: BTreeSet<String>) -> Result<()> {
        let key = self.noted.note_key();
        self.board.remove_note(&key)?;
        let unfinished = true;
        let note = Note { of, unfinished };
        self.board.add_note(&key, &note.text()).map(drop)
    }

    /// Creates the message, unless another host does. `kept`: earlier messages of the alarm, which are cleared
    /// with this one.
    fn raise(
        &self,
        of: BTreeSet<String>,
        message: &Message,
        kept: &[String],
    ) -> Result<Option<Message>> {
        let unfinished = false;
        let note = Note { of, unfinished };
        let key = self.noted.note_key();
        if !self.board.add_note(&key, &note.text())? {
            return Ok(None);
        }
        let created = self.create(message, kept);
        if created.is_err() {
            // The error of the message is the one to report.
            drop(self.board.remove_note(&key));
        }
        created.map(Some)
    }

    fn create(&self, message: &Message, kept: &[String]) -> Result<Message> {
        let mut references = kept.to_vec();
        references.push(self.board.raise(message)?);
        let key = self.noted.message_key();
        if !kept.is_empty() {
            self.board.remove_note(&key)?;
        }
        self.board.add_note(&key, &references.join(" "))?;
        Ok(message.clone())
    }

    fn message(&self, found: &[Alarming]) -> Message {
        let mut found: Vec<_> = found.iter().collect();
        found.sort_by_key(|each| std::cmp::Reverse(each.finding.severity));
        let worst = found.first().map(|each| each.finding.severity);
        let measured = found
            .iter()
            .find_map(|each| Some((each.finding.percent?, each.threshold?)));
        let number = |percent: u64| format!("{}.{:02}", percent / 100, percent % 100);
        let (value, trigger) = match measured {
            Some((percent, threshold)) => (number(percent), number(threshold)),
            None => ("1".to_owned(), "1".to_owned()),
        };
        let mut rows = vec![
            ("sr", self.report.sr.to_string()),
            ("problem", problems(&found)),
        ];
        let mut fixes: Vec<&str> = found.iter().map(|each| each.finding.fix.as_str()).collect();
        fixes.retain(|fix| !fix.is_empty());
        fixes.dedup();
        fixes.truncate(DESCRIBED);
        if !fixes.is_empty() {
            rows.push(("fix", fixes.join("; ")));
        }
        let mut ids: Vec<_> = found.iter().map(|each| each.finding.kind.id).collect();
        ids.dedup();
        rows.push(("finding", ids.join(", ")));
        let (class, object) = match self.alarm.scope {
            Scope::Sr => ("SR", self.report.sr.to_string()),
            Scope::Host => ("Host", self.here.to_owned()),
        };
        Message {
            priority: match worst {
                Some(Severity::Failure) => MAJOR,
                _ => WARNING,
            },
            class,
            object,
            body: body(self.alarm.name, &value, &trigger, &rows),
        }
    }
}

fn problems(found: &[&Alarming]) -> String {
    let described = found.iter().take(DESCRIBED);
    let described =
        described.map(|each| format!("{}: {}", each.finding.object, each.finding.found));
    let mut problems: Vec<_> = described.collect();
    if found.len() > DESCRIBED {
        problems.push(format!("and {} more", found.len() - DESCRIBED));
    }
    problems.join("; ")
}

/// Destroys the message, and removes the keys: the first one last, because it is what keeps other hosts from
/// raising the alarm.
fn clear(board: &dyn Board, noted: &Noted) -> Result<()> {
    for message in &noted.messages {
        board.destroy(message)?;
    }
    board.remove_note(&noted.message_key())?;
    board.remove_note(&noted.note_key())
}
