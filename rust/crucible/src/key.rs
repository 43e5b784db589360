//! The key of an encrypted volume: 32 bytes, written in base64.

use std::fs;
use std::path::Path;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use secrecy::zeroize::Zeroizing;
use secrecy::SecretString;

use crate::Error;

/// What Crucible takes: the key of AES-256.
const KEY_BYTES: usize = 32;

/// Reads a key from a file.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Key`] if it holds something else.
pub fn read(path: &Path) -> Result<SecretString, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
    parse(&Zeroizing::new(text), &path.display().to_string())
}

/// Takes a key out of text; `origin` says in the error where that came from.
///
/// # Errors
/// [`Error::Key`] if it is not base64 of 32 bytes.
pub fn parse(text: &str, origin: &str) -> Result<SecretString, Error> {
    let text = text.trim();
    let wrong = |found: String| Error::Key {
        origin: origin.to_owned(),
        found,
    };
    // What base64 says about wrong text quotes it.
    let bytes = STANDARD
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| wrong("something that is not base64".to_owned()))?;
    match bytes.len() {
        KEY_BYTES => Ok(SecretString::from(text)),
        found => Err(wrong(format!("{found} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_key_is_taken_as_openssl_prints_it() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{key}\n")).unwrap();
        assert_eq!(read(file.path()).unwrap().expose_secret(), key);
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        for (text, found) in [
            ("not-a-key", "not base64"),
            ("c2hvcnQ=", "5 bytes"),
            ("", "0 bytes"),
        ] {
            let error = parse(text, "secret 1").unwrap_err().to_string();
            assert!(
                error.contains("secret 1") && error.contains(found),
                "{error}"
            );
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
