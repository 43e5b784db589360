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
