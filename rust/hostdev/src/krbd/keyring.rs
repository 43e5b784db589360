//! Gives the kernel the cephx key.

use std::io;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use hostos::deadline::{by_deadline, Deadline};
use keyutils::{Key, KeyType, Keyring, SpecialKeyring};
use nix::errno::Errno;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::client::Krbd;
use crate::Error;

/// The type of keys with 32 bytes (AES-256), which Ceph 20 makes by default.
const AES256: u16 = 2;

/// ENOTSUPP in the kernel. User space has no such errno, but some kernels return it.
const ENOTSUPP: i32 = 524;

/// The key type that libceph registers.
struct CephKey;

impl KeyType for CephKey {
    type Description = str;
    type Payload = [u8];

    fn name() -> &'static str {
        "ceph"
    }
}

/// Decodes the base64 text of a keyring file. The kernel's key type takes the bytes.
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

/// Returns the type, which the first two bytes of a key contain.
fn type_of(payload: &[u8]) -> Option<u16> {
    let first: [u8; 2] = payload.get(..2)?.try_into().ok()?;
    Some(u16::from_le_bytes(first))
}

/// Adds a key to the keyring of *this thread*, which the kernel searches first when this thread maps an
/// image. `rbd map` uses the keyring of the user. That keeps the key until the host reboots, and the kernel
/// does not search it for a service with a private session keyring (systemd's default).
pub(super) fn add_for_this_thread(name: &str, payload: &[u8]) -> io::Result<()> {
    add(name, payload).map(drop)
}

fn add(name: &str, payload: &[u8]) -> io::Result<Key> {
    Keyring::attach_or_create(SpecialKeyring::Thread)
        .and_then(|mut ring| ring.add_key::<CephKey, _, _>(name, payload))
        .map_err(|errno| io::Error::from_raw_os_error(errno.0))
}

impl Krbd {
    /// Checks that the kernel accepts a user's key: adds it to a keyring that only this call uses, and
    /// removes it at once. Sends nothing to the cluster. The module must be loaded.
    ///
    /// # Errors
    /// [`Error::Keyring`] with the remedy; [`Error::Invalid`] for a key that is not base64;
    /// [`Error::Timeout`].
    pub fn try_key(
        &self,
        user: &str,
        key: &SecretString,
        deadline: std::time::Duration,
    ) -> Result<(), Error> {
        let payload = decode(user, key)?;
        let name = format!("client.{user}@smblock-check");
        let tried = by_deadline(Deadline::after(deadline), move || {
            // The keyring ends with this thread, and so does a key that cannot be invalidated.
            let added = add(&name, &payload)?;
            if let Err(errno) = added.invalidate() {
                log::debug!("the key of the check stays until its thread ends: {errno:?}");
            }
            Ok(())
        });
        match tried {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(source))) | Err(source) => Err(refused(user, key, source)),
            Ok(None) => Err(Error::Timeout {
                action: "add to the kernel's keyring",
                object: format!("the key of client.{user}"),
                waited: deadline,
                advice: "see `dmesg`".to_owned(),
            }),
        }
    }
}

/// Returns the error for a key that the kernel refused.
pub(super) fn refused(user: &str, key: &SecretString, source: io::Error) -> Error {
    let payload = decode(user, key).ok();
    let kind = payload.as_ref().and_then(|payload| type_of(payload));
    Error::Keyring {
        user: user.to_owned(),
        advice: advice(user, kind, source.raw_os_error().unwrap_or_default()),
        source,
    }
}

fn advice(user: &str, kind: Option<u16>, errno: i32) -> String {
    let unsupported = errno == ENOTSUPP
        || [Errno::EINVAL, Errno::EOPNOTSUPP]
            .iter()
            .any(|&known| known as i32 == errno);
    match (Errno::from_raw(errno), kind) {
        (_, Some(AES256)) if unsupported => format!(
            "the key is of type 2 (aes256k, AES-256), which this kernel does not support. Use a \
             newer kernel, or give the user a key of type 1 (aes). On a node of the cluster: \
             `ceph mon set auth_allowed_ciphers aes,aes256k`, \
             `ceph config set mon mon_auth_allow_insecure_key true`, `ceph auth rm client.{user}`, \
             `ceph auth get-or-create client.{user} mon 'profile rbd' osd 'profile rbd pool=POOL' \
             mgr 'profile rbd pool=POOL' --key-type aes`; then put the new key on each host"
        ),
        (_, Some(kind)) if unsupported && kind != 1 => format!(
            "the key is of type {kind}, which this kernel does not support; compare it with \
             `ceph auth get-key client.{user}`"
        ),
        (Errno::EINVAL, _) => {
            format!("the key is damaged; compare it with `ceph auth get-key client.{user}`")
        }
        (Errno::ENOENT | Errno::ENOPKG, _) => ALGORITHMS.to_owned(),
        (Errno::ENODEV, _) => "the kernel's Ceph client is not loaded; `modprobe rbd`".to_owned(),
        (Errno::EDQUOT, _) => "root has too many keys in the kernel; see `cat /proc/key-users`, \
                               and raise `sysctl kernel.keys.root_maxkeys`"
            .to_owned(),
        (Errno::ENOSYS | Errno::EPERM | Errno::EACCES, _) => {
            "a container or a security module forbids this process to add keys: run it as root outside of a \
             container"
                .to_owned()
        }
        _ => "see `dmesg`".to_owned(),
    }
}

/// The remedy for a kernel without the algorithms that its Ceph client needs.
pub(super) const ALGORITHMS: &str =
    "the kernel lacks an algorithm for cephx: `modprobe -a aes cbc`, and for a key of type 2 \
     (aes256k) `modprobe -a cts krb5enc`; if a module is missing, install all modules of this \
     kernel (Debian: the package linux-image of `uname -r`)";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A key for tests: type, time, length and a secret of that length.
    const AES: &str = "AQAK7yxNeF+nHBAA0SgSdbs8IkJrxroDeJ6SwQ==";

    fn key_of_type_2() -> SecretString {
        let mut bytes = vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0];
        bytes.extend([7; 32]);
        SecretString::from(STANDARD.encode(bytes))
    }

    fn message(key: &SecretString, errno: i32) -> String {
        let source = io::Error::from_raw_os_error(errno);
        let error = refused("xcp", key, source);
        assert_eq!(error.errno(), errno);
        let message = error.to_string();
        assert!(!message.contains(key.expose_secret()), "{message}");
        message
    }

    #[test]
    fn the_first_two_bytes_of_a_key_are_its_type() {
        let kind = |key: &SecretString| type_of(&decode("xcp", key).unwrap());
        assert_eq!(kind(&SecretString::from(AES)), Some(1));
        assert_eq!(kind(&key_of_type_2()), Some(2));
        assert!(key_of_type_2().expose_secret().starts_with("Ag"));
        assert_eq!(kind(&SecretString::from("AQ==")), None);
    }

    #[test]
    fn the_error_of_an_unsupported_key_has_the_commands_for_another_one() {
        for errno in [Errno::EINVAL as i32, ENOTSUPP] {
            let message = message(&key_of_type_2(), errno);
            for word in [
                "type 2",
                "ceph mon set auth_allowed_ciphers aes,aes256k",
                "ceph config set mon mon_auth_allow_insecure_key true",
                "ceph auth get-or-create client.xcp mon",
                "--key-type aes",
            ] {
                assert!(message.contains(word), "{word}: {message}");
            }
        }
    }

    #[test]
    fn each_errno_of_a_refused_key_has_its_own_remedy() {
        let aes = SecretString::from(AES);
        for (key, errno, clue) in [
            (&aes, Errno::EINVAL, "ceph auth get-key client.xcp"),
            (&aes, Errno::ENOENT, "modprobe -a aes cbc"),
            (&aes, Errno::ENOPKG, "modprobe -a aes cbc"),
            (&key_of_type_2(), Errno::ENOPKG, "cts krb5enc"),
            (&aes, Errno::ENODEV, "modprobe rbd"),
            (&aes, Errno::EDQUOT, "/proc/key-users"),
            (&aes, Errno::EPERM, "container"),
            (&aes, Errno::ENOMEM, "dmesg"),
        ] {
            let message = message(key, errno as i32);
            assert!(message.contains(clue), "{message}");
            assert!(!message.contains("--key-type"), "{message}");
        }
    }
}
