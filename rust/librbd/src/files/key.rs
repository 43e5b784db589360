//! A cephx key: base64 of its type, its creation time, and the secret.

/// The kind of a key, or why librados cannot decode it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// Type 1, AES-128: every librados and every kernel supports it.
    Aes,
    /// Type 2, AES-256 (`aes256k`): Ceph 20.2.4 and later support it.
    Aes256,
    /// Type 0, or without a secret. librados accepts it, but all monitors refuse it.
    Empty,
    /// Any other type.
    Unknown(u16),
    /// A character that base64 does not have, or a length that is no multiple of four.
    NotBase64,
    /// The end is missing.
    Cut,
}

const HEADER: usize = 12;
const AES: usize = 16;

impl Key {
    /// Returns the kind of a key in the form of a keyring or a key file.
    pub(crate) fn read(text: &str) -> Self {
        let Some(bytes) = decode_base64(text.as_bytes()) else {
            return Self::NotBase64;
        };
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
            return Self::Cut;
        };
        let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let length = usize::from(number(10));
        match (number(0), length) {
            _ if rest.len() < length => Self::Cut,
            (0, _) | (_, 0) => Self::Empty,
            (1, ..AES) => Self::Cut,
            (1, _) => Self::Aes,
            (2, _) => Self::Aes256,
            (other, _) => Self::Unknown(other),
        }
    }

    /// Returns the type of the key, if it can be decoded.
    pub(crate) const fn type_number(self) -> Option<u16> {
        match self {
            Self::Empty => Some(0),
            Self::Aes => Some(1),
            Self::Aes256 => Some(2),
            Self::Unknown(number) => Some(number),
            Self::NotBase64 | Self::Cut => None,
        }
    }

    /// Returns why librados cannot decode the key.
    pub(crate) const fn fault(self) -> Option<&'static str> {
        match self {
            Self::NotBase64 => Some("the key is not base64"),
            Self::Cut => Some("the key is too short: its end is missing"),
            _ => None,
        }
    }
}

/// Decodes as librados does: skips newlines, and ignores the text after the first `=`.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'\n' {
            rest = behind;
            continue;
        }
        let group = rest.first_chunk::<4>()?;
        let mut word = 0_u32;
        for &c in group {
            word = word << 6 | u32::from(sextet(c)?);
        }
        let [_, a, b, c] = word.to_be_bytes();
        let count = match group {
            [_, _, b'=', _] => 1,
            [.., b'='] => 2,
            _ => 3,
        };
        bytes.extend(&[a, b, c][..count]);
        if count < 3 {
            break;
        }
        rest = &rest[4..];
    }
    Some(bytes)
}

const fn sextet(c: u8) -> Option<u8> {
    match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        b'=' => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_type() {
        let aes = "AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jTQ==";
        let aes256 = "AgCJZYhqAAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(Key::read(aes), Key::Aes);
        assert_eq!(Key::read(aes256), Key::Aes256);
        assert_eq!(Key::read(&aes.replace("AQ", "BQ")), Key::Unknown(5));
        assert_eq!(Key::read("AAAAAAAAAAAAAAAA"), Key::Empty);
    }

    #[test]
    fn a_damaged_key_has_a_reason() {
        for (text, key) in [
            ("AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jT", Key::NotBase64),
            ("AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0j", Key::Cut),
            ("AQDcyUFl8V0bBxAA", Key::Cut),
            ("AQDc yUFl", Key::NotBase64),
            ("AQDc", Key::Cut),
            ("", Key::Cut),
            ("\u{fc}\u{fc}", Key::NotBase64),
        ] {
            assert_eq!(Key::read(text), key, "{text}");
            assert!(key.fault().is_some());
        }
    }
}
