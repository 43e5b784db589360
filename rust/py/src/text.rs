//! Texts that leave in XML, which has no place for some characters.

use std::borrow::Cow;

/// Whether XML 1.0 has the character.
fn is_in_xml(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// The text with `\u{1}` in place of each character that XML does not have. Names in Ceph may hold any:
/// a reply with one would be none for xapi.
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
    fn only_characters_that_xml_has_are_left() {
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
