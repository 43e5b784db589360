//! The cephx key's way to the kernel.

use std::io;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use keyutils::{KeyType, Keyring, SpecialKeyring};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use crate::Error;

/// A cephx key as libceph registers the type.
struct CephKey;

impl KeyType for CephKey {
    type Description = str;
    type Payload = [u8];

    fn name() -> &'static str {
        "ceph"
    }
}

/// The bytes behind the base64 text of a keyring file: what the kernel's key type takes.
pub(crate) fn decode(user: &str, key: &SecretString) -> Result<Zeroizing<Vec<u8>>, Error> {
    STANDARD
        .decode(key.expose_secret().trim())
        .ok()
        .filter(|bytes| !bytes.is_empty())
        .map(Zeroizing::new)
        .ok_or_else(|| Error::Invalid {
            what: "the cephx key of user",
            value: format!("client.{user}"),
            expected: "base64, as `ceph auth get-key` prints it".to_owned(),
        })
}

/// Puts a key where the kernel looks first when *this thread* maps an image: the thread's own
/// keyring. The keyring of the user, where `rbd map` puts it, would keep the key for the uptime of
/// the host, and is not searched at all in a service with a private session keyring (systemd's
/// default).
pub(super) fn add_for_this_thread(name: &str, payload: &[u8]) -> io::Result<()> {
    Keyring::attach_or_create(SpecialKeyring::Thread)
        .and_then(|mut ring| ring.add_key::<CephKey, _, _>(name, payload))
        .map(drop)
        .map_err(|errno| io::Error::from_raw_os_error(errno.0))
}
