//! The options of a connection.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A text that must not be printed: `Debug` and `Display` show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text` in all output.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself.
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

/// The options of a connection. They override the configuration file.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The configuration file. `None`: no file if `mon_host` is given; else the first that exists of
    /// `/etc/ceph/ceph.conf`, `~/.ceph/ceph.conf` and `ceph.conf`.
    pub conf: Option<PathBuf>,
    /// The user, without `client.`.
    pub user: String,
    /// The keyring with the user's key.
    pub keyring: Option<PathBuf>,
    /// The monitors' addresses, as in `mon_host` of `ceph.conf`.
    pub mon_host: Option<String>,
    /// The user's key, base64 as in a keyring.
    pub key: Option<Secret>,
    /// The deadline of the connection, and of each later request. Rounded up to whole seconds. Zero counts as
    /// one second, because 0 means no deadline in Ceph.
    pub timeout: Duration,
}

impl ConnectOptions {
    /// The default deadline.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// Returns options for `user` (without `client.`) on the cluster of the default configuration file.
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

    /// Returns the timeout for Ceph's options: whole seconds, at least one.
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
    fn a_timeout_is_rounded_up_to_at_least_one_second() {
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
