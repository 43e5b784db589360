//! xapi's options, read from the files that xapi reads, with its own rules.
//!
//! First /etc/xapi.conf, then each file of /etc/xapi.conf.d by the bytes of its name. The last line that sets an option
//! wins. Text after `#` is a comment, also inside quotes. One pair of quotes around the whole value is removed. A line
//! that is no assignment is skipped.
//!
//! The installer has a reader of its own, because it must run without the driver. Both read the cases of
//! tests/fixtures/xapi-conf.json (docs/decisions/0087-one-table-two-readers.md).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) const MAIN: &str = "/etc/xapi.conf";
const DIRECTORY: &str = "/etc/xapi.conf.d";
const SM_DIR: &str = "/opt/xensource/sm";

/// The files that xapi reads, in its order, with their bytes.
pub(super) struct Files(Vec<(PathBuf, Vec<u8>)>);

/// A value, and where it is set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting<'f> {
    pub(super) value: &'f [u8],
    pub(super) file: &'f Path,
    pub(super) line: usize,
}

impl Files {
    /// Reads them below `root`. Files that do not exist or cannot be read are left out.
    pub(super) fn read(root: &Path) -> Self {
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let listed = fs::read_dir(below(Path::new(DIRECTORY)))
            .into_iter()
            .flatten();
        let mut names: Vec<_> = listed
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect();
        names.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        let fragments = names.iter().map(|name| Path::new(DIRECTORY).join(name));
        let paths = std::iter::once(PathBuf::from(MAIN)).chain(fragments);
        let read = paths.filter_map(|path| Some((path.clone(), fs::read(below(&path)).ok()?)));
        Files(read.collect())
    }

    /// The option in force.
    pub(super) fn option(&self, key: &str) -> Option<Setting<'_>> {
        self.option_of(key, |_| true)
    }

    /// The option that /etc/xapi.conf alone sets.
    pub(super) fn option_of_main(&self, key: &str) -> Option<Setting<'_>> {
        self.option_of(key, |file| file == Path::new(MAIN))
    }

    fn option_of(&self, key: &str, reads: impl Fn(&Path) -> bool) -> Option<Setting<'_>> {
        let files = self.0.iter().filter(|(file, _)| reads(file));
        let lines = files.flat_map(|(file, bytes)| {
            let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
            lines.map(move |(bytes, line)| (file.as_path(), bytes, line))
        });
        let set = lines.filter_map(|(file, bytes, line)| {
            let (found, value) = assignment(bytes)?;
            (found == key.as_bytes()).then_some(Setting { value, file, line })
        });
        set.last()
    }

    /// The directory in which xapi looks for drivers.
    pub(super) fn sm_dir(&self) -> PathBuf {
        let set = self.option("sm-dir").map(|set| set.value);
        let set = set.filter(|value| !value.is_empty());
        let Some(value) = set else {
            return SM_DIR.into();
        };
        let end = value.iter().rposition(|byte| *byte != b'/');
        Path::new(OsStr::from_bytes(&value[..end.map_or(1, |end| end + 1)])).into()
    }
}

/// The items of a list, as xapi splits it.
pub(super) fn fields(value: &[u8]) -> Vec<String> {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let items = value.split(white).filter(|item| !item.is_empty());
    items
        .map(|item| String::from_utf8_lossy(item).into_owned())
        .collect()
}

/// The key and the value that xapi takes from a line.
fn assignment(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let beside = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\\');
    let comment = line.iter().position(|byte| *byte == b'#');
    let line = &line[..comment.unwrap_or(line.len())];
    let line = &line[..line.iter().rposition(|byte| !blank(byte))? + 1];
    // A word that ends before an equals sign is the key, also if other words are before it.
    let signs = line.iter().enumerate().filter(|(_, byte)| **byte == b'=');
    signs.map(|(at, _)| at).find_map(|at| {
        let end = line[..at].iter().rposition(|byte| !beside(byte))? + 1;
        let is_key = |byte: &u8| *byte != b'=' && !beside(byte);
        let before = line[..end].iter().rposition(|byte| !is_key(byte));
        let key = &line[before.map_or(0, |at| at + 1)..end];
        let value = &line[at + 1..];
        let value = &value[value
            .iter()
            .position(|byte| !beside(byte))
            .unwrap_or(value.len())..];
        (!key.is_empty()).then(|| (key, unquoted(value)))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => value,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Table {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        files: BTreeMap<String, String>,
        list: Option<List>,
        sm_dir: String,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct List {
        types: Vec<String>,
        file: String,
        line: usize,
    }

    #[test]
    fn the_configuration_is_read_as_xapi_reads_it() {
        let text = include_str!("../../../../tests/fixtures/xapi-conf.json");
        let table: Table = serde_json::from_str(text).unwrap();
        for case in table.cases {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("etc/xapi.conf.d")).unwrap();
            for (file, text) in &case.files {
                // Each character of a case is one byte.
                let bytes: Vec<_> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
                fs::write(root.path().join(file.trim_start_matches('/')), bytes).unwrap();
            }
            let files = Files::read(root.path());
            let found = files.option("sm-plugins").map(|set| List {
                types: fields(set.value),
                file: set.file.display().to_string(),
                line: set.line,
            });
            let mut expected = case.list;
            for item in expected.iter_mut().flat_map(|list| &mut list.types) {
                let bytes: Vec<_> = item.chars().map(|c| u8::try_from(c).unwrap()).collect();
                *item = String::from_utf8_lossy(&bytes).into_owned();
            }
            assert_eq!(found, expected, "{}", case.name);
            assert_eq!(files.sm_dir(), Path::new(&case.sm_dir), "{}", case.name);
        }
    }
}
