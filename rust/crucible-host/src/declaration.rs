//! The file that declares static volumes.
//!
//! ```toml
//! [[volume]]
//! uuid = "5a1c1e9e-7f3f-4b57-9b0c-0f8f6a1d2c3b" # becomes the VDI's uuid
//! name = "web1 root"
//! description = "made on 2026-08-04"       # optional
//! size = 10737418240                        # bytes
//! targets = ["10.0.0.1:3810", "10.0.0.2:3810", "10.0.0.3:3810"]
//! regions = ["<uuid>", "<uuid>", "<uuid>"]  # optional: the uuid in each region's region.json
//! generation = 1790000000                   # optional: the highest generation ever used by hand
//! key_file = "/etc/smblock/web1.key"        # or key_secret = "<uuid of a secret in XAPI>"
//! ```

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::volume::{conflict, Mistake, Written};
use crate::{Error, Volume};

/// The whole file. `volume` is required: an empty file is probably incomplete. `volume = []` declares
/// no volumes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    volume: Vec<Written>,
}

/// Returns all volumes that a file declares.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Declaration`] with the line of the first mistake.
pub fn read(path: &Path) -> Result<Vec<Volume>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
    parse(&text).map_err(|(line, reason)| Error::Declaration {
        path: path.to_owned(),
        line,
        reason,
    })
}

pub(crate) fn parse(text: &str) -> Result<Vec<Volume>, (usize, String)> {
    let declaration: Declaration = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let advice = match error.message() {
            "missing field `volume`" => ": write a [[volume]] for each, or `volume = []` for none",
            _ => "",
        };
        (line_of(text, at), format!("{}{advice}", error.message()))
    })?;
    let mut volumes = Vec::with_capacity(declaration.volume.len());
    for (index, written) in declaration.volume.into_iter().enumerate() {
        let volume = Volume::try_from(written).map_err(|mistake| place(text, index, mistake))?;
        volumes.push(volume);
    }
    match conflict(&volumes) {
        Some((index, mistake)) => Err(place(text, index, mistake)),
        None => Ok(volumes),
    }
}

fn place(text: &str, index: usize, mistake: Mistake) -> (usize, String) {
    let at = span_of(text, index, mistake.field).map_or(0, |span| span.start);
    let Mistake {
        field,
        text: reason,
    } = mistake;
    (line_of(text, at), format!("{field}: {reason}"))
}

/// Returns the position of a field of the volume with that index; the position of the volume if it has no
/// such field.
fn span_of(text: &str, index: usize, field: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let DeValue::Array(volumes) = document.get_ref().get("volume")?.get_ref() else {
        return None;
    };
    let volume = volumes.get(index)?;
    let value = match volume.get_ref() {
        DeValue::Table(table) => table.get(field),
        _ => None,
    };
    Some(value.map_or_else(|| volume.span(), |value| value.span()))
}

/// Lines are counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeySource;
    use proptest::prelude::*;

    const WEB: &str = r#"# what we have
[[volume]]
uuid = "5a1c1e9e-7f3f-4b57-9b0c-0f8f6a1d2c3b"
name = "web1 root"
size = 10737418240
targets = ["10.0.0.1:3810", "10.0.0.2:3810", "[fd00::3]:3810"]
generation = 1790000000
key_file = "/etc/smblock/web1.key"
"#;
    const DATABASE: &str = r#"
[[volume]]
uuid = "b1f7a0c2-97d5-4d9e-8f55-2f3d6c1f6f0e"
name = "database"
description = "made by hand"
size = 512
targets = [
  "10.0.0.1:3820",
  "10.0.0.2:3820",
  "10.0.0.3:3820",
]
"#;

    /// The line and text of the mistake in WEB after one replacement.
    fn mistake(from: &str, to: &str) -> (usize, String) {
        assert!(WEB.contains(from), "{from}");
        parse(&WEB.replacen(from, to, 1)).unwrap_err()
    }

    fn assert_mistake(from: &str, to: &str, line: usize, text: &str) {
        let (found, reason) = mistake(from, to);
        assert_eq!(found, line, "{reason}");
        assert!(reason.contains(text), "{reason}");
    }

    #[test]
    fn a_file_declares_all_its_volumes() {
        let volumes = parse(&format!("{WEB}{DATABASE}")).unwrap();
        let [web, database] = volumes.as_slice() else {
            panic!("{volumes:?}");
        };
        assert_eq!(web.uuid.to_string(), "5a1c1e9e-7f3f-4b57-9b0c-0f8f6a1d2c3b");
        assert_eq!((web.name.as_str(), web.size), ("web1 root", 10 << 30));
        assert_eq!(web.targets[2], "[fd00::3]:3810".parse().unwrap());
        assert_eq!(web.generation_floor, 1_790_000_000);
        assert_eq!(
            web.key,
            Some(KeySource::File("/etc/smblock/web1.key".into()))
        );
        assert_eq!(
            (database.description.as_str(), database.size),
            ("made by hand", 512)
        );
        assert_eq!((database.generation_floor, &database.key), (0, &None));
        assert_eq!(parse("volume = []").unwrap(), []);
    }

    #[test]
    fn an_empty_file_is_a_mistake() {
        let (line, text) = parse("# being written\n").unwrap_err();
        assert_eq!(line, 1);
        assert!(text.contains("volume = []"), "{text}");
    }

    #[test]
    fn the_error_of_a_mistake_has_its_line_and_a_remedy() {
        assert_mistake("5a1c1e9e-", "", 3, "uuidgen");
        assert_mistake("\"web1 root\"", "\"\"", 4, "name is empty");
        assert_mistake("10737418240", "1000", 5, "a multiple of 512");
        assert_mistake("10737418240", "0", 5, "a multiple of 512");
        assert_mistake("10737418240", "\"10 GiB\"", 5, "expected u64");
        assert_mistake(
            "10.0.0.2:3810",
            "node2:3810",
            6,
            "such as \"10.0.0.1:3810\"",
        );
        assert_mistake("10.0.0.2:3810", "10.0.0.2:61536", 6, "a port up to 61535");
        assert_mistake("10.0.0.2:3810", "10.0.0.1:3810", 6, "10.0.0.1:3810 twice");
        assert_mistake("[fd00::3]:3810", "10.0.0.2:3810", 6, "10.0.0.2:3810 twice");
        assert_mistake(", \"10.0.0.2:3810\"", "", 6, "2 targets");
        assert_mistake(
            "generation =",
            "generatoin =",
            7,
            "unknown field `generatoin`",
        );
        assert_mistake("/etc/", "etc/", 8, "begin it with /");
        assert_mistake(
            "key_file =",
            "key_secret = \"x\"\nkey_file =",
            8,
            "one of the two",
        );
        assert_mistake("size =", "seize =", 5, "unknown field `seize`");
        assert_mistake("size = 10737418240\n", "", 2, "missing field `size`");
        assert_mistake("\"web1 root\"", "web1 root", 4, "");
    }

    #[test]
    fn two_volumes_with_one_target_or_one_uuid_are_a_mistake() {
        let both = format!(
            "{WEB}{}",
            DATABASE.replace("10.0.0.2:3820", "10.0.0.1:3810")
        );
        let (line, text) = parse(&both).unwrap_err();
        assert_eq!(line, 15, "{text}");
        assert!(
            text.contains("10.0.0.1:3810 belongs to volume 5a1c1e9e"),
            "{text}"
        );
        let uuid = "b1f7a0c2-97d5-4d9e-8f55-2f3d6c1f6f0e";
        let both = format!(
            "{WEB}{}",
            DATABASE.replace(uuid, "5A1C1E9E-7F3F-4B57-9B0C-0F8F6A1D2C3B")
        );
        let (line, text) = parse(&both).unwrap_err();
        assert_eq!(line, 11, "{text}");
        assert!(text.contains("an earlier volume"), "{text}");
    }

    #[test]
    fn the_error_names_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), WEB.replace("size = 1", "size = -1")).unwrap();
        let text = read(file.path()).unwrap_err().to_string();
        let place = format!("{}, line 5: ", file.path().display());
        assert!(text.starts_with(&place), "{text}");
        let missing = read(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(missing.contains("cannot read /nonexistent"), "{missing}");
    }

    proptest! {
        #[test]
        fn a_broken_file_is_a_mistake_on_one_of_its_lines(at in 0..WEB.len(), character: char) {
            let mut text = WEB.to_owned();
            text.insert(at, character);
            match parse(&text) {
                Ok(volumes) => prop_assert_eq!(volumes.len(), 1),
                Err((line, reason)) => {
                    prop_assert!((1..=text.lines().count() + 1).contains(&line));
                    prop_assert!(!reason.is_empty());
                }
            }
        }
    }
}
