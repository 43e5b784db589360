//! Escapes characters that XML does not allow.

use std::borrow::Cow;

/// Returns whether XML 1.0 allows the character.
fn is_in_xml(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Returns the text with an escape (`\u{1}`) for each character that XML does not allow. Names in Ceph may
/// contain any character. xapi rejects a reply with one that XML does not allow.
pub fn for_xml(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_in_xml) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match is_in_xml(c) {
            true => safe.push(c),
            false => safe.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_xml_does_not_allow_are_escaped() {
        for (text, shown) in [
            ("a\tb\nc\r", "a\tb\nc\r"),
            ("\u{fc}<&>\u{1f600}", "\u{fc}<&>\u{1f600}"),
            ("ctl\u{1}x\0", "ctl\\u{1}x\\u{0}"),
            ("\u{1b}[0m\u{ffff}", "\\u{1b}[0m\\u{ffff}"),
        ] {
            assert_eq!(for_xml(text), shown);
        }
    }
}
