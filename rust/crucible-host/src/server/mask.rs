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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "dGhpcyBpcyBhIGtleSBvZiAzMiBieXRlcywgcmVhbGx5IQ==";

    fn lines(said: &[u8]) -> Vec<String> {
        Mask::of(Some(SecretString::from(KEY)))
            .lines(said)
            .collect()
    }

    #[test]
    fn what_a_server_says_is_told_line_by_line_without_its_key() {
        let said = format!("key: {KEY}, again {KEY}\r\n\nlast: {KEY}");
        assert_eq!(
            lines(said.as_bytes()),
            ["key: <key>, again <key>", "", "last: <key>"]
        );
        let open: Vec<_> = Mask::of(None).lines(&b"a\nb"[..]).collect();
        assert_eq!(open, ["a", "b"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_is_told() {
        let said = [vec![b'x'; 1 << 20], b"\nnext\n".to_vec()].concat();
        let told = lines(&said);
        assert_eq!(told.len(), 2);
        assert!(told[0].len() < LINE_LIMIT + 10 && told[0].ends_with("x ..."));
        assert_eq!(told[1], "next");
    }

    proptest! {
        #[test]
        fn no_part_of_a_key_is_told_wherever_it_stands(
            before in 0_usize..LINE_LIMIT + 100,
            keys in 1_usize..4,
            odd in any::<u8>(),
        ) {
            let filler = vec![if odd == b'\n' { b'-' } else { odd }; before];
            let said = [filler, KEY.repeat(keys).into_bytes()].concat();
            for line in lines(&said) {
                prop_assert!(!line.contains(&KEY[..8]), "{}", line);
            }
        }
    }
}
