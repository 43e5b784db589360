//! `docs/user/findings.md`, made of the table.

use std::fmt::Write as _;

use super::table::KINDS;
use super::Severity;

const INTRODUCTION: &str = "\
# Findings

<!-- Written by `UPDATE=1 cargo test -p sr finding`. Change rust/sr/src/finding/table.rs instead. -->

Each finding of `smblock doctor` has an id. Search this page for it. An id never changes its meaning: programs can
rely on it. The text of a finding has the object, what was found, and a command that fixes it.

| severity | meaning | exit status of `smblock doctor` |
|---|---|---|
| failure | something does not work, or data is in danger | 2 |
| warning | it works, and is not as it should be | 1 |
| note | no trouble: nothing has to be done | 0 |

An SR, or a host, can have a finding with another severity than the usual one that this page has: a pool of which
96 % is used is a failure, one of which 86 % is used a warning.
";

/// The headings, with the id that each of them begins at.
const SECTIONS: [(&str, &str); 10] = [
    ("SMB-F000", "Parts of `smblock check`"),
    ("SMB-F100", "The catalogue of an SR of type cephrbd"),
    ("SMB-F110", "Images and the catalogue"),
    ("SMB-F130", "Unfinished operations and space"),
    ("SMB-F150", "Devices, claims and fencing"),
    ("SMB-F170", "The cluster"),
    ("SMB-F200", "What the check every ten minutes finds besides"),
    ("SMB-F300", "SRs of type crucible"),
    ("SMB-F400", "XAPI and SM"),
    ("SMB-F420", "This host"),
];

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut sections = SECTIONS.iter().peekable();
    for kind in KINDS {
        while let Some((_, heading)) = sections.next_if(|(from, _)| *from <= kind.id) {
            let _ = write!(page, "\n## {heading}\n");
        }
        let is_part = kind.id < "SMB-F100";
        let usually = match kind.severity {
            Severity::Failure => "failure",
            Severity::Note => "note",
            Severity::NotRun => "not run",
            _ if is_part => "what the check has found",
            _ => "warning",
        };
        let (id, title, meaning) = (kind.id, kind.title, kind.meaning);
        let _ = write!(
            page,
            "\n### {id}: {title}\n\n{meaning}\n\nSeverity: {usually}.\n"
        );
    }
    page
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn crate_file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    fn update() -> bool {
        std::env::var_os("UPDATE").is_some()
    }

    #[test]
    fn the_page_of_findings_is_up_to_date() {
        let path = crate_file("../../docs/user/findings.md");
        if update() {
            fs::write(&path, page()).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(page() == committed, "run UPDATE=1 cargo test -p sr finding");
    }

    #[test]
    fn the_ids_are_sorted_and_unlike_each_other() {
        let ids: Vec<_> = KINDS.iter().map(|kind| kind.id).collect();
        let sorted: BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(ids, sorted.into_iter().collect::<Vec<_>>());
        assert!(ids.iter().all(|id| id.len() == 8), "{ids:?}");
        let titles: BTreeSet<_> = KINDS.iter().map(|kind| kind.title).collect();
        assert_eq!(titles.len(), KINDS.len(), "two kinds have one title");
    }

    /// The text of every source file below a directory, but for the table itself.
    fn sources(directory: &Path) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text += &sources(&path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("table.rs") {
                text += &fs::read_to_string(&path).unwrap();
            }
        }
        text
    }

    #[test]
    fn each_kind_that_is_no_part_of_a_check_is_found_by_a_doctor() {
        let table = fs::read_to_string(crate_file("src/finding/table.rs")).unwrap();
        let crates = ["sr", "sr-ceph", "sr-crucible"];
        let crates = crates.map(|name| sources(&crate_file(&format!("../{name}/src"))));
        let code = crates.concat();
        let mut count = 0;
        for line in table.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(id)) = (words.next(), words.next()) else {
                continue;
            };
            let number = id.trim_matches('"').parse::<u32>();
            if id.starts_with('"') && number.is_ok_and(|number| number >= 100) {
                count += 1;
                assert!(
                    code.contains(&format!("table::{name}")),
                    "{name} is never found"
                );
            }
        }
        assert_eq!(
            count,
            KINDS.iter().filter(|kind| kind.id >= "SMB-F100").count()
        );
    }

    /// A line of ids.txt is never changed or removed: a kind that does not exist any more keeps its line.
    #[test]
    fn an_id_of_a_finding_never_gets_another_meaning() {
        let path = crate_file("src/finding/ids.txt");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut committed: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(id, title)| (id.to_owned(), title.to_owned()))
            .collect();
        for kind in KINDS {
            let title = committed.entry(kind.id.to_owned()).or_insert_with(|| {
                assert!(
                    update(),
                    "{} is new: run UPDATE=1 cargo test -p sr finding",
                    kind.id
                );
                kind.title.to_owned()
            });
            assert_eq!(title, kind.title, "{} is the id of another kind", kind.id);
        }
        if update() {
            let lines: Vec<_> = committed
                .iter()
                .map(|(id, title)| format!("{id} {title}\n"))
                .collect();
            fs::write(&path, lines.concat()).unwrap();
        }
    }
}
