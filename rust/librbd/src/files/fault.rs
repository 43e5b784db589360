//! Explains why librados stops at a byte of a file, and how to fix the file.

use std::fmt;
use std::path::Path;

use super::grammar::Stop;
use super::key::Key;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number of the line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
    /// How to fix it: a command, if there is one.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// The kind of a Ceph file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'user> {
    Conf,
    /// The keyring with the key of this entity: `client.xcp`.
    Keyring(&'user str),
}

/// Returns the number of the line at an offset, from 1.
pub(super) fn line_number(text: &[u8], offset: usize) -> usize {
    let before = &text[..offset.min(text.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

fn line_at(text: &[u8], offset: usize) -> &[u8] {
    let number = line_number(text, offset);
    text.split(|&byte| byte == b'\n')
        .nth(number - 1)
        .unwrap_or_default()
}

/// Explains a stop. Does not quote the line: it may have a key.
pub(super) fn explain(text: &[u8], stop: Stop, path: &Path, kind: Kind<'_>) -> Fault {
    let offset = stop.offset();
    let line = line_number(text, offset);
    let (reason, fix) = match stop {
        Stop::NotUtf8(_) => not_utf8(text, offset, path),
        Stop::Abort(_) => not_ascii(text, offset, path),
        Stop::Refused(_) => refused(text, offset, path, kind),
    };
    Fault {
        line: Some(line),
        reason,
        fix,
    }
}

fn column(text: &[u8], offset: usize) -> usize {
    let start = text[..offset].iter().rposition(|&byte| byte == b'\n');
    offset - start.map_or(0, |newline| newline + 1) + 1
}

fn not_utf8(text: &[u8], offset: usize, path: &Path) -> (String, String) {
    let shown = path.display();
    if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
        return (
            "the file is UTF-16, which librados cannot read".to_owned(),
            format!("iconv -f UTF-16 -t UTF-8 {shown} >{shown}.new && mv {shown}.new {shown}"),
        );
    }
    (
        format!(
            "byte {} (0x{:02x}) is not UTF-8, and librados refuses the file",
            column(text, offset),
            text[offset]
        ),
        format!("replace the character in {shown}"),
    )
}

fn not_ascii(text: &[u8], offset: usize, path: &Path) -> (String, String) {
    let shown = path.display();
    let rest = String::from_utf8_lossy(&text[offset..]);
    let c = rest.chars().next().unwrap_or('\u{fffd}');
    let mut buffer = [0; 4];
    let bytes: Vec<_> = c.encode_utf8(&mut buffer).bytes().collect();
    let spelled = |prefix: &str, separator: &str| {
        let bytes: Vec<_> = bytes.iter().map(|b| format!("{prefix}{b:02x}")).collect();
        bytes.join(separator)
    };
    let place = format!("byte {} (0x{})", column(text, offset), spelled("", " 0x"));
    let escaped = spelled("\\x", "");
    match c {
        '\u{feff}' if offset == 0 => (
            format!("the file begins with a UTF-8 byte-order mark: {place}; librados aborts on it"),
            format!("sed -i '1s/^{escaped}//' {shown}"),
        ),
        _ if c.is_whitespace() || c == '\u{feff}' => (
            format!(
                "{place} is the character U+{:04X}, which is invisible and not ASCII; librados aborts on it",
                u32::from(c)
            ),
            format!("LC_ALL=C sed -i 's/{escaped}/ /g' {shown}"),
        ),
        _ => (
            format!(
                "{place} is the character {c} (U+{:04X}), which is not ASCII; librados aborts on it \
                 outside comments and quotes",
                u32::from(c)
            ),
            format!("replace the character in {shown}, or put the whole value in double quotes"),
        ),
    }
}

fn refused(text: &[u8], offset: usize, path: &Path, kind: Kind<'_>) -> (String, String) {
    let shown = path.display();
    let number = line_number(text, offset);
    let line = line_at(text, offset);
    let words = line.trim_ascii();
    let remove = || format!("sed -i '{number}d' {shown}");
    let text_begin = text.trim_ascii_start();
    if text_begin.starts_with(b"{") || text_begin.starts_with(b"[{") {
        let fix = match kind {
            Kind::Conf => "ceph config generate-minimal-conf".to_owned(),
            Kind::Keyring(entity) => format!("ceph auth get {entity}"),
        };
        return (
            "the file is JSON".to_owned(),
            format!(
                "on a node of the cluster, without -f json: {fix}; put its output into {shown}"
            ),
        );
    }
    if let (Kind::Keyring(entity), true) = (kind, is_key(text)) {
        return key_alone(path, entity);
    }
    if words.starts_with(b"exported keyring for ") {
        let reason = "the line is a message of the ceph command, not a part of the keyring";
        return (reason.to_owned(), remove());
    }
    if words.starts_with(b"[") && line.first().is_some_and(u8::is_ascii_whitespace) {
        return (
            "the section heading is indented".to_owned(),
            format!("sed -i 's/^[[:blank:]]*\\[/[/' {shown}"),
        );
    }
    if let (b"", false) = (words, text.is_empty()) {
        return (
            "there are blanks before the first section heading".to_owned(),
            remove(),
        );
    }
    if !words.contains(&b'=') && !words.starts_with(b"[") {
        return (
            "the line is neither a [section] nor NAME = VALUE".to_owned(),
            format!("correct or remove the line in {shown}"),
        );
    }
    let before_heading = !text[..offset]
        .split(|&byte| byte == b'\n')
        .any(|line| line.trim_ascii_start().starts_with(b"["));
    if before_heading && !words.starts_with(b"[") && number > 1 {
        let heading = match kind {
            Kind::Conf => "global",
            Kind::Keyring(entity) => entity,
        };
        return (
            "there are settings before the first section heading".to_owned(),
            format!("sed -i '1i [{heading}]' {shown}"),
        );
    }
    if offset >= text.len() && !text.ends_with(b"\n") {
        return (
            "the last line does not end with a newline".to_owned(),
            format!("echo >>{shown}"),
        );
    }
    let reason = match words.first() {
        Some(b'[') if !words.contains(&b']') => "the section heading has no ]",
        Some(b'[') => "the section heading is empty, or there is text after its ]",
        Some(b'=') => "there is no name before the =",
        _ if words.contains(&b'"') || words.contains(&b'\'') => {
            "the quotes do not match: a value in quotes must not contain # or ;, and no text may follow it"
        }
        _ => "the line is no NAME = VALUE",
    };
    (
        reason.to_owned(),
        format!("correct line {number} of {shown}"),
    )
}

/// Returns whether the whole text is a key.
pub(super) fn is_key(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let key = std::str::from_utf8(text).map(Key::read);
    text.len() > 16 && key.is_ok_and(|key| key.fault().is_none())
}

pub(super) fn key_alone(path: &Path, entity: &str) -> (String, String) {
    let shown = path.display();
    (
        "the file has only a key, without the section of its user".to_owned(),
        format!("sed -i -e '1s/^/[{entity}]\\n\\tkey = /' -e '$a\\' {shown}"),
    )
}
