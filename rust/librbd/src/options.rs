//! How to reach a cluster, and as whom.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A text that must not be printed: `Debug` and `Display` show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed by accident.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to reach a cluster, and as whom. What is given here is stronger than the configuration file.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The configuration file. `None`: librados' own search (`CEPH_CONF`, `/etc/ceph/ceph.conf`),
    /// or no file at all where `mon_host` is given.
    pub conf: Option<PathBuf>,
    /// The user, without `client.`.
    pub user: String,
    /// The keyring file that has the user's key.
    pub keyring: Option<PathBuf>,
    /// The monitors' addresses, as in `mon_host` of `ceph.conf`.
    pub mon_host: Option<String>,
    /// The user's key, base64 as in a keyring.
    pub key: Option<Secret>,
    /// The deadline of connecting, and of each round trip after that. Rounded up to whole seconds;
    /// zero counts as one second, as Ceph takes 0 for "wait for ever".
    pub timeout: Duration,
}

impl ConnectOptions {
    /// The deadline unless another one is asked for.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// `user` (without `client.`) on the cluster of the default configuration file.
    pub fn new(user: impl Into<String>) -> Self {
        Self {
            conf: None,
            user: user.into(),
            keyring: None,
            mon_host: None,
            key: None,
            timeout: Self::DEFAULT_TIMEOUT,
        }
    }

    /// The timeout as Ceph's options take it: whole seconds, at least one.
    pub(crate) fn timeout_seconds(&self) -> u64 {
        let partial = u64::from(self.timeout.subsec_nanos() > 0);
        self.timeout.as_secs().saturating_add(partial).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let mut options = ConnectOptions::new("xcp");
        options.key = Some(Secret::new("AQBsecretsecret=="));
        for text in [
            format!("{options:?}"),
            format!("{options:#?}"),
            options
                .key
                .as_ref()
                .map(Secret::to_string)
                .unwrap_or_default(),
        ] {
            assert!(text.contains("***"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        assert_eq!(
            options.key.as_ref().map(Secret::expose),
            Some("AQBsecretsecret==")
        );
    }

    #[test]
    fn a_timeout_is_never_rounded_down_nor_zero() {
        let seconds = |timeout| {
            ConnectOptions {
                timeout,
                ..ConnectOptions::new("xcp")
            }
            .timeout_seconds()
        };
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(seconds(Duration::from_secs(30)), 30);
    }
}
