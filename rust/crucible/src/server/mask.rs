//! What a server says, line by line, without its key.

use std::io::{BufRead, BufReader, Read};

use secrecy::{ExposeSecret, SecretString};

/// The longest line that is passed on whole, in bytes.
const LINE_LIMIT: usize = 4096;
const MASKED: &str = "<key>";

/// Takes a key out of text. A server prints its arguments, and the key is one of them.
#[derive(Clone)]
pub(super) struct Mask(Option<SecretString>);

impl Mask {
    pub(super) fn of(key: Option<SecretString>) -> Self {
        Mask(key.filter(|key| !key.expose_secret().is_empty()))
    }

    /// The lines of a stream until it ends, or cannot be read any more. What a line has beyond the
    /// limit is dropped.
    pub(super) fn lines(self, stream: impl Read) -> impl Iterator<Item = String> {
        let mut stream = BufReader::new(stream);
        std::iter::from_fn(move || {
            let (line, cut) = self.read(&mut stream)?;
            Some(self.clean(&line, cut))
        })
    }

    /// One line, and whether its end is missing.
    fn read(&self, stream: &mut impl BufRead) -> Option<(Vec<u8>, bool)> {
        let limit = LINE_LIMIT + self.key().len();
        let mut line = Vec::new();
        stream
            .take(u64::try_from(limit).ok()?)
            .read_until(b'\n', &mut line)
            .ok()?;
        let cut = line.len() == limit && !line.ends_with(b"\n");
        if cut {
            stream.skip_until(b'\n').ok()?;
        }
        (!line.is_empty()).then_some((line, cut))
    }

    fn clean(&self, line: &[u8], cut: bool) -> String {
        let mut text = String::from_utf8_lossy(line).into_owned();
        let key = self.key();
        if !key.is_empty() {
            text = text.replace(key, MASKED);
        }
        if cut {
            // Its end may be the first part of a key.
            let end = text.len().saturating_sub(key.len());
            let end = (0..=end).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text.push_str(" ...");
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn key(&self) -> &str {
        self.0.as_ref().map_or("", ExposeSecret::expose_secret)
    }
}
