//! The key of an encrypted volume: 32 bytes, written in base64.

use std::fs;
use std::path::Path;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Error;

/// The length of a key of AES-256.
const KEY_BYTES: usize = 32;

/// Reads a key from a file.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Key`] if it contains no key.
pub fn read(path: &Path) -> Result<SecretString, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
    parse(&Zeroizing::new(text), &path.display().to_string())
}

/// Returns the key in `text`; the error names `origin`.
///
/// # Errors
/// [`Error::Key`] if it is not base64 of 32 bytes.
pub fn parse(text: &str, origin: &str) -> Result<SecretString, Error> {
    let text = text.trim();
    let wrong = |found: String| Error::Key {
        origin: origin.to_owned(),
        found,
    };
    // The error of base64 is dropped: it quotes the text.
    let bytes = STANDARD
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| wrong("something that is not base64".to_owned()))?;
    match bytes.len() {
        KEY_BYTES => Ok(SecretString::from(text)),
        found => Err(wrong(format!("{found} bytes"))),
    }
}

/// Returns a hash of the volume's UUID and the key. It reveals neither the key nor other volumes with the
/// same key. A key is 32 random bytes, so an attacker cannot try all likely keys.
///
/// # Errors
/// [`Error::Key`] if the text is no key.
pub fn fingerprint(volume: &Uuid, key: &SecretString) -> Result<String, Error> {
    let bytes = STANDARD.decode(key.expose_secret()).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| Error::Key {
        origin: format!("the key of volume {volume}"),
        found: "something that is not base64".to_owned(),
    })?;
    let mut hash = Sha256::new();
    hash.update(b"smblock fingerprint of a Crucible volume's key\n");
    hash.update(volume.as_bytes());
    hash.update(bytes.as_slice());
    let hash = hash.finalize();
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_contains_the_output_of_openssl() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{key}\n")).unwrap();
        assert_eq!(read(file.path()).unwrap().expose_secret(), key);
    }

    #[test]
    fn a_fingerprint_depends_on_key_and_volume_and_hides_the_key() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let key = parse(text, "a test").unwrap();
        let other = parse(&STANDARD.encode([7; 32]), "a test").unwrap();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let print = fingerprint(&one, &key).unwrap();
        assert_eq!(print, fingerprint(&one, &key).unwrap());
        assert_eq!(print.len(), 64);
        assert!(!print.contains("000102030405"), "{print}");
        assert_ne!(print, fingerprint(&two, &key).unwrap());
        assert_ne!(print, fingerprint(&one, &other).unwrap());
    }

    #[test]
    fn the_error_of_a_wrong_key_does_not_quote_it() {
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
