//! The output of a server, line by line, without its key.

use std::io::{BufRead, BufReader, Read};

use secrecy::{ExposeSecret, SecretString};

/// The longest line that is passed on whole, in bytes.
const LINE_LIMIT: usize = 4096;
const MASKED: &str = "<key>";

/// Replaces a key in text. A server prints its arguments, and the key is one of them.
#[derive(Clone)]
pub(super) struct Mask(Option<SecretString>);

impl Mask {
    pub(super) fn of(key: Option<SecretString>) -> Self {
        Mask(key.filter(|key| !key.expose_secret().is_empty()))
    }

    /// Returns the lines of a stream until it ends or fails. A line is cut at the limit.
    pub(super) fn lines(self, stream: impl Read) -> impl Iterator<Item = String> {
        let mut stream = BufReader::new(stream);
        std::iter::from_fn(move || {
            let (line, cut) = self.read(&mut stream)?;
            Some(self.clean(&line, cut))
        })
    }

    /// Returns one line, and whether it was cut.
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
            // The end of a cut line may be the first part of a key.
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

    fn lines(output: &[u8]) -> Vec<String> {
        Mask::of(Some(SecretString::from(KEY)))
            .lines(output)
            .collect()
    }

    #[test]
    fn a_mask_replaces_the_key_in_each_line() {
        let output = format!("key: {KEY}, again {KEY}\r\n\nlast: {KEY}");
        assert_eq!(
            lines(output.as_bytes()),
            ["key: <key>, again <key>", "", "last: <key>"]
        );
        let open: Vec<_> = Mask::of(None).lines(&b"a\nb"[..]).collect();
        assert_eq!(open, ["a", "b"]);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_kept() {
        let output = [vec![b'x'; 1 << 20], b"\nnext\n".to_vec()].concat();
        let lines = lines(&output);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].len() < LINE_LIMIT + 10 && lines[0].ends_with("x ..."));
        assert_eq!(lines[1], "next");
    }

    proptest! {
        #[test]
        fn a_mask_lets_no_part_of_a_key_through(
            before in 0_usize..LINE_LIMIT + 100,
            keys in 1_usize..4,
            odd in any::<u8>(),
        ) {
            let filler = vec![if odd == b'\n' { b'-' } else { odd }; before];
            let output = [filler, KEY.repeat(keys).into_bytes()].concat();
            for line in lines(&output) {
                prop_assert!(!line.contains(&KEY[..8]), "{}", line);
            }
        }
    }
}
