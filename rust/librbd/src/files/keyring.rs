//! Checks a keyring.

use std::path::Path;

use super::fault::{explain, is_key, key_alone, line_number, Fault, Kind};
use super::grammar::{Contents, Setting};
use super::key::Key;
use super::verdict::{left_out, Dialect, Verdict};
use super::{grammar, lines};

/// The result of the check for one user.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// The user's key: base64, and its kind.
    pub(crate) key: Option<(String, Key)>,
    /// A user with a key of a higher type than 1, and that type. An older librados refuses the whole file.
    pub(crate) newer: Option<(String, u16)>,
}

/// The types of an entity. librados refuses a file with a section of another type.
const TYPES: [&str; 6] = ["auth", "mon", "osd", "mds", "mgr", "client"];

/// Checks the text of `path` for the user `entity`: `client.xcp`.
pub(crate) fn judge(text: &[u8], path: &Path, entity: &str, dialect: Dialect) -> Judgement {
    let mut found = Judgement::default();
    let contents = match dialect {
        Dialect::Grammar => match grammar::parse(text) {
            Ok(contents) => contents,
            // librados first tries a binary form, which no supported Ceph writes.
            Err(grammar::Stop::Refused(_)) if text.contains(&0) => {
                found.verdict.missing = Some(Fault {
                    line: None,
                    reason: "the file contains a NUL byte: it is no text".to_owned(),
                    fix: get_again(path, entity),
                });
                return found;
            }
            Err(stop) => {
                found.verdict.aborts = matches!(stop, grammar::Stop::Abort(_));
                found.verdict.refusal = Some(explain(text, stop, path, Kind::Keyring(entity)));
                return found;
            }
        },
        Dialect::Lines => {
            let (contents, ignored) = lines::parse(text);
            found.verdict.warnings = left_out(text, &ignored, path);
            contents
        }
    };
    found.verdict.refusal = refusal(text, path, entity, &contents);
    let settings = contents.settings.iter().rev();
    let keys: Vec<_> = settings.filter(|setting| setting.key == "key").collect();
    let own = keys.iter().find(|setting| setting.section == entity);
    found.key = own.map(|setting| (setting.value.clone(), Key::read(&setting.value)));
    found.newer = keys.iter().find_map(|setting| {
        let number = Key::read(&setting.value)
            .type_number()
            .filter(|&number| number > 1)?;
        Some((setting.section.clone(), number))
    });
    if found.key.is_none() && is_key(text) {
        let (reason, fix) = key_alone(path, entity);
        found.verdict.missing = Some(Fault {
            line: Some(1),
            reason,
            fix,
        });
    } else if found.key.is_none() {
        found.verdict.missing = Some(missing(path, entity, &contents));
    }
    found
}

/// Returns why librados does not load the keyring for any user.
fn refusal(text: &[u8], path: &Path, entity: &str, contents: &Contents) -> Option<Fault> {
    let shown = path.display();
    let again = || get_again(path, entity);
    let heading = |(name, offset): &(String, usize)| {
        let (reason, fix) = match name {
            name if is_entity(name) => return None,
            name if name.starts_with('{') => (
                "the file is JSON".to_owned(),
                format!("on a node of the cluster, without -f json: ceph auth get {entity}; put its output into {shown}"),
            ),
            name => (
                format!("{} is no user: librados refuses the whole file", shown_name(name)),
                format!("write [{entity}] without blanks in the brackets, or remove the section"),
            ),
        };
        Some(Fault {
            line: Some(line_number(text, *offset)),
            reason,
            fix,
        })
    };
    if let Some(fault) = contents.sections.iter().find_map(heading) {
        return Some(fault);
    }
    contents.settings.iter().find_map(|setting| {
        // If a setting occurs twice, librados uses the last one.
        let is_last =
            |other: &&Setting| (&other.section, &other.key) == (&setting.section, &setting.key);
        let last = contents.settings.iter().rev().find(is_last);
        if setting.section == "global" || last.is_some_and(|last| last.offset != setting.offset) {
            return None;
        }
        let (reason, fix) = match setting.key.as_str() {
            "key" => (Key::read(&setting.value).fault()?.to_owned(), again()),
            "auid" => return None,
            caps if caps.strip_prefix("caps_").is_some_and(|of| !of.is_empty()) => return None,
            // The error does not quote the name: it may be a key.
            _ => (
                "a keyring contains only lines with the names key and 'caps TYPE'".to_owned(),
                again(),
            ),
        };
        Some(Fault {
            line: Some(line_number(text, setting.offset)),
            reason,
            fix,
        })
    })
}

/// Returns the name for an error, if it cannot be a key.
fn shown_name(name: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || " .-_@".contains(c);
    match name.len() < 40 && name.chars().all(harmless) {
        true => format!("[{name}]"),
        false => "the section heading".to_owned(),
    }
}

fn is_entity(name: &str) -> bool {
    let entity = name.split_once('.');
    name == "global" || entity.is_some_and(|(kind, _)| TYPES.contains(&kind))
}

fn missing(path: &Path, entity: &str, contents: &Contents) -> Fault {
    let others: Vec<_> = contents
        .sections
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != "global" && *name != entity && is_entity(name))
        .collect();
    let has_section = contents.sections.iter().any(|(name, _)| name == entity);
    let reason = match (has_section, others.is_empty()) {
        (true, _) => format!("section [{entity}] has no key"),
        (false, true) => format!("the file has no section [{entity}]"),
        (false, false) => format!(
            "the file has no section [{entity}]; it has {}",
            others.join(", ")
        ),
    };
    Fault {
        line: None,
        reason,
        fix: get_again(path, entity),
    }
}

fn get_again(path: &Path, entity: &str) -> String {
    let shown = path.display();
    format!("on a node of the cluster: ceph auth get {entity}; put its output into {shown}")
}
