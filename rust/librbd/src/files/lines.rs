//! Parses an INI file as librados before Octopus (15) does, line by line: it ignores an invalid line, and
//! accepts the file.

use super::grammar::{Contents, Setting};

/// Returns the contents of a text, and the offsets of the ignored lines.
pub(crate) fn parse(text: &[u8]) -> (Contents, Vec<usize>) {
    let mut contents = Contents::default();
    let mut left_out = Vec::new();
    let mut section = "global".to_owned();
    let mut offset = 0;
    // A backslash at the end continues a line in the next one.
    let mut begun = Vec::new();
    let mut start = 0;
    for raw in text.split_inclusive(|&byte| byte == b'\n') {
        if begun.is_empty() {
            start = offset;
        }
        offset += raw.len();
        begun.extend_from_slice(raw.strip_suffix(b"\n").unwrap_or(raw));
        if raw.ends_with(b"\\\n") {
            begun.pop();
            continue;
        }
        let whole = std::mem::take(&mut begun);
        let line = std::str::from_utf8(&whole).map(|line| until_comment(line).trim());
        match line {
            Ok("") => {}
            Ok(line) if raw.ends_with(b"\n") => match read(line) {
                Some(Line::Heading(name)) => {
                    contents.sections.push((name.to_owned(), start));
                    section = name.to_owned();
                }
                Some(Line::Setting(key, value)) => contents.settings.push(Setting {
                    section: section.clone(),
                    key: key.split_whitespace().collect::<Vec<_>>().join("_"),
                    value: value.to_owned(),
                    offset: start,
                }),
                None => left_out.push(start),
            },
            _ => left_out.push(start),
        }
    }
    (contents, left_out)
}

enum Line<'line> {
    Heading(&'line str),
    Setting(&'line str, &'line str),
}

fn read(line: &str) -> Option<Line<'_>> {
    if let Some(rest) = line.strip_prefix('[') {
        let name = rest.strip_suffix(']')?.trim();
        return (!name.is_empty()).then_some(Line::Heading(name));
    }
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let value = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!key.is_empty()).then_some(Line::Setting(key, value))
}

fn until_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' | ';' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}
