//! Generates `docs/user/errors.md`, with every error that has an id, from the sources of the enums. The tests
//! check that the page is up to date. `UPDATE=1 cargo test -p smblock-py error_page` writes it.

mod origins;
mod rules;
mod source;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::origins::{Names, Origin, OWN, SECTIONS};
use self::source::{arms_of, errors_of, ids_of, Variant};
use crate::error::{INTERNAL, SM_GENERAL};
use crate::failures::key_for;

/// The error of a panic, which no enum has.
fn internal() -> Entry {
    Entry {
        id: INTERNAL.to_owned(),
        place: "py INTERNAL".to_owned(),
        variant: Variant {
            name: "INTERNAL".to_owned(),
            text: None,
            literal: String::new(),
            cause: "A bug in smblock.".to_owned(),
            fix: Some(
                "Report it with /var/log/SMlog. The text names the place in the sources."
                    .to_owned(),
            ),
            io_fields: Vec::new(),
        },
        names: vec![SM_GENERAL.to_owned()],
        is_of_sm: true,
    }
}

/// All errors, by section.
fn sections() -> Vec<(&'static str, Vec<Entry>)> {
    let mut all: Vec<_> = SECTIONS
        .iter()
        .map(|(heading, origins)| (*heading, entries(origins)))
        .collect();
    let mut own = vec![internal()];
    own.extend(entries(&OWN));
    all.push(("smblock itself: SMB-P", own));
    all
}

const INTRODUCTION: &str = "\
# Errors

<!-- Written by `UPDATE=1 cargo test -p smblock-py error_page`. Change the sources instead. -->

The text of each error that `xe`, `smblock` and SMlog show begins with an id. Search this page for it.
An id never changes its meaning, and is the attribute `id` of the Python exception `smblock.Error`. Words in
braces stand for what the text is about. Steps for common problems are in
[troubleshooting](troubleshooting.md).

The last line of an entry is the code that `xe` shows, and SM's name for it. XAPI replaces the text of four of
SM's errors by one of its own; smblock uses another name for these, but for a VDI that is in use while it is
destroyed (`VDI_IN_USE`).
";

/// One error of the page.
struct Entry {
    id: String,
    /// Where it is in the sources: `sr-ceph Error::VdiInUse`.
    place: String,
    variant: Variant,
    names: Vec<String>,
    is_of_sm: bool,
}

fn rust() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> syn::File {
    let path = rust().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn entries(origins: &[Origin]) -> Vec<Entry> {
    let table = arms_of(&read("py/src/failures.rs"));
    let mut entries = Vec::new();
    for origin in origins {
        let file = read(origin.file);
        let ids = ids_of(
            &origin.ids.map_or_else(|| read(origin.file), read),
            origin.item,
        );
        let library = origin.file.split('/').next().unwrap();
        for variant in errors_of(&file, origin.item) {
            let place = format!("{library} {}::{}", origin.item, variant.name);
            let id = match ids.get(&variant.name) {
                Some(Some(id)) => id.clone(),
                Some(None) => continue, // that of the error which it contains
                None => panic!("{place} has no id"),
            };
            let arms: Vec<_> = match origin.names {
                Names::Own(function) => vec![(function, variant.name.as_str())],
                Names::Of(arms) => arms.to_vec(),
                Names::None => Vec::new(),
            };
            let mut names = Vec::new();
            for (function, arm) in arms {
                let found = table
                    .iter()
                    .filter(|of| of.function == function && of.variant == arm);
                for name in found.flat_map(|of| of.name.clone()) {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            entries.push(Entry {
                id,
                place,
                variant,
                names,
                is_of_sm: !matches!(origin.names, Names::None),
            });
        }
    }
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    entries
}

/// SM's numbers, by name.
fn numbers() -> BTreeMap<String, String> {
    let path = rust().join("../lab/sm/XE_SR_ERRORCODES.xml");
    let text = fs::read_to_string(path).unwrap();
    let between = |line: &str, tag: &str| {
        let from = line.split_once(&format!("<{tag}>"))?.1;
        Some(from.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    let lines = text.lines();
    lines
        .filter_map(|line| Some((between(line, "name")?, between(line, "value")?)))
        .collect()
}

/// `SR_BACKEND_FAILURE_46 (VDIUnavailable)`.
fn code(name: &str, numbers: &BTreeMap<String, String>) -> String {
    let shown = key_for("", Box::leak(name.to_owned().into_boxed_str()));
    if shown == "VDIMissing" {
        return "`VDI_MISSING` (VDIMissing)".to_owned();
    }
    format!("`SR_BACKEND_FAILURE_{}` ({shown})", numbers[shown])
}

fn page() -> String {
    let numbers = numbers();
    let mut page = INTRODUCTION.to_owned();
    for (heading, entries) in sections() {
        write!(page, "\n## {heading}\n").unwrap();
        for entry in entries {
            write!(page, "\n### {}\n\n", entry.id).unwrap();
            if let Some(text) = &entry.variant.text {
                write!(page, "```text\n{text}\n```\n\n").unwrap();
            }
            writeln!(page, "**Cause.** {}", entry.variant.cause).unwrap();
            if let Some(fix) = &entry.variant.fix {
                write!(page, "\n**Fix.** {fix}\n").unwrap();
            }
            if !entry.is_of_sm {
                page += "\nNo command of `xe`: `smblock export` and `/var/log/SMlog` show it.\n";
                continue;
            }
            let mut codes: Vec<_> = entry
                .names
                .iter()
                .map(|name| code(name, &numbers))
                .collect();
            codes.dedup();
            let codes = match codes.as_slice() {
                [] if entry.place.contains("ThrottleError") => {
                    "none: the command does not fail".to_owned()
                }
                [] => "the code of the first failure".to_owned(),
                _ => codes.join(" or "),
            };
            write!(page, "\n`xe`: {codes}.\n").unwrap();
        }
    }
    page
}

/// The committed ids, with the error that each stands for. No line is removed: an error that does not exist any
/// more keeps its line, so that its id is not used again. A line changes only if the error gets another name.
const IDS: &str = "py/src/error_page/ids.txt";

fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

#[test]
fn the_page_of_errors_is_up_to_date() {
    let path = rust().join("../docs/user/errors.md");
    let page = page();
    if update() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = page
        .lines()
        .zip(committed.lines())
        .find(|(new, old)| new != old);
    assert!(
        page == committed,
        "run UPDATE=1 cargo test -p smblock-py error_page; first difference: {differs:?}"
    );
}

#[test]
fn an_id_never_gets_another_meaning() {
    let path = rust().join(IDS);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let mut committed = BTreeMap::new();
    for line in text.lines() {
        let (id, place) = line.split_once(' ').unwrap();
        assert!(
            committed.insert(id.to_owned(), place.to_owned()).is_none(),
            "{id} stands twice"
        );
    }
    for (_, entries) in sections() {
        for entry in entries {
            let place = committed.entry(entry.id.clone()).or_insert_with(|| {
                assert!(
                    update(),
                    "run UPDATE=1 cargo test -p smblock-py error_page: {} is new",
                    entry.id
                );
                entry.place.clone()
            });
            assert_eq!(
                *place, entry.place,
                "{} is the id of another error",
                entry.id
            );
        }
    }
    if update() {
        let lines: Vec<_> = committed
            .iter()
            .map(|(id, place)| format!("{id} {place}\n"))
            .collect();
        fs::write(&path, lines.concat()).unwrap();
    }
}
