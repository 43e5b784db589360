//! Quotes names in commands that an administrator types.

/// Returns a word for a shell: unchanged if no character is special, else in quotes. Control characters need
/// the quotes `$'...'` of bash.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/@:+,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if !word.chars().any(char::is_control) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut escaped = String::new();
    for c in word.chars() {
        match c {
            '\'' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped += &format!("\\u{:04x}", u32::from(c)),
            c => escaped.push(c),
        }
    }
    format!("$'{escaped}'")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_has_no_quotes() {
        assert_eq!(quoted("vms/smblock.1@a-b"), "vms/smblock.1@a-b");
        assert_eq!(quoted("vms/a b"), "'vms/a b'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_shell_reads_a_quoted_word_unchanged() {
        let words = [
            "a b",
            "it's",
            "a\"b$(id)`x`\\",
            "\u{fc}\u{1f600}",
            "<&>",
            "-x",
            "a\nb\t'\u{1}\\",
        ];
        for word in words {
            let script = format!("printf %s {}", quoted(word));
            let mut bash = std::process::Command::new("bash");
            let printed = bash
                .args(["-c", &script])
                .env("LC_ALL", "C.UTF-8")
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&printed.stdout), word, "{script}");
        }
    }
}
