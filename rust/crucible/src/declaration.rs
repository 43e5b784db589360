//! The file in which an administrator declares volumes.
//!
//! ```toml
//! [[volume]]
//! uuid = "5a1c1e9e-7f3f-4b57-9b0c-0f8f6a1d2c3b" # becomes the VDI's uuid
//! name = "web1 root"
//! description = "made on 2026-08-04"       # optional
//! size = 10737418240                        # bytes
//! targets = ["10.0.0.1:3810", "10.0.0.2:3810", "10.0.0.3:3810"]
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

/// The whole file. `volume` is not optional: an empty file is more likely one that is being written
/// than a wish for an empty SR, which is spelled `volume = []`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    volume: Vec<Written>,
}

/// Reads the volumes a file declares.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Declaration`] for the first mistake in it, with
/// its line: never a shorter list.
pub fn read(path: &Path) -> Result<Vec<Volume>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
    parse(&text).map_err(|(line, reason)| Error::Declaration {
        path: path.to_owned(),
        line,
        reason,
    })
}

fn parse(text: &str) -> Result<Vec<Volume>, (usize, String)> {
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

/// Where a field of the volume with that index stands; the volume itself, if it has no such field.
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
