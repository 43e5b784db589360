//! The text of a message with the name `ALARM`, in the one form that Xen Orchestra and xapi's mail-alarm parse:
//! a number, and XML with a name, a threshold and further elements, each of which is shown as a row.
//!
//! `packaging/smblock_setup/alarm.py` makes the same text, because it must work if the driver does not. A test
//! compares both.

use std::fmt::Write as _;

/// Returns the body. `value` and `trigger` are numbers; `rows` are the names and values of further elements. A
/// name is a word of letters and `_`.
#[must_use]
pub fn body(name: &str, value: &str, trigger: &str, rows: &[(&str, String)]) -> String {
    let mut body = format!("value: {value}\nconfig:\n<variable>\n");
    let head = [
        ("name", name.to_owned()),
        ("alarm_trigger_level", trigger.to_owned()),
    ];
    for (element, value) in head.iter().chain(rows) {
        let _ = writeln!(body, "<{element} value=\"{}\"/>", escape(value));
    }
    body + "</variable>"
}

/// A text as the value of an attribute. A character that XML does not have becomes a space.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            _ if c.is_control() => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_one_line_for_each_element_and_no_other() {
        let rows = [("problem", "a \"b\" <c> & d\ne\u{0}ü".to_owned())];
        assert_eq!(
            body("smblock_usage", "0.87", "0.85", &rows),
            "value: 0.87\nconfig:\n<variable>\n<name value=\"smblock_usage\"/>\n\
             <alarm_trigger_level value=\"0.85\"/>\n\
             <problem value=\"a &quot;b&quot; &lt;c&gt; &amp; d e ü\"/>\n</variable>"
        );
    }
}
