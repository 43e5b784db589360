//! The settings of the server: `/etc/smblock/export.conf`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// xapi's own NBD server has 10809. From 32768 on, the kernel gives ports to clients.
const PORT: u16 = 10810;
const TIMEOUT: u64 = 60;

/// The settings of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on.
    pub address: SocketAddr,
    /// The files of TLS; `None`: connections are not encrypted.
    pub tls: Option<TlsFiles>,
    /// For how long the device may serve a request without progress.
    pub timeout: Duration,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, with those between it and its CA.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// The CA of the clients' certificates.
    pub client_ca: PathBuf,
}

impl Settings {
    /// Returns the settings of the file's pairs.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::NeedsTls`].
    pub fn parse(pairs: &BTreeMap<String, String>) -> Result<Self> {
        const KNOWN: [&str; 6] = [
            "listen",
            "port",
            "timeout",
            "certificate",
            "key",
            "client-ca",
        ];
        if let Some(unknown) = pairs.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            let reason = format!("no such setting; there are {}", KNOWN.join(", "));
            return Err(wrong(unknown, reason));
        }
        let ip =
            setting(pairs, "listen", "is no IP address")?.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port = setting(pairs, "port", "is no number from 1 to 65535")?.unwrap_or(PORT);
        let seconds =
            setting(pairs, "timeout", "is no number of seconds from 1")?.unwrap_or(TIMEOUT);
        if port == 0 || seconds == 0 {
            let which = if port == 0 { "port" } else { "timeout" };
            return Err(wrong(which, "is not above 0".to_owned()));
        }
        Ok(Self {
            address: SocketAddr::new(ip, port),
            tls: tls(pairs, ip)?,
            timeout: Duration::from_secs(seconds),
        })
    }
}

/// Encryption alone keeps no client away, so that the clients' certificates are part of it.
fn tls(pairs: &BTreeMap<String, String>, ip: IpAddr) -> Result<Option<TlsFiles>> {
    const FILES: [&str; 3] = ["certificate", "key", "client-ca"];
    let set = FILES.map(|key| pairs.get(key).map(PathBuf::from));
    let missing: Vec<_> = FILES
        .iter()
        .zip(&set)
        .filter(|(_, path)| path.is_none())
        .map(|(key, _)| *key)
        .collect();
    match set {
        [Some(certificate), Some(key), Some(client_ca)] => Ok(Some(TlsFiles {
            certificate,
            key,
            client_ca,
        })),
        _ if missing.len() == FILES.len() && ip.is_loopback() => Ok(None),
        _ if ip.is_loopback() => {
            let reason = "is needed with the other files of TLS".to_owned();
            Err(wrong(missing[0], reason))
        }
        _ => Err(Error::NeedsTls {
            address: ip,
            missing: missing.join(", "),
        }),
    }
}

fn setting<T: std::str::FromStr>(
    pairs: &BTreeMap<String, String>,
    key: &str,
    otherwise: &str,
) -> Result<Option<T>> {
    let Some(value) = pairs.get(key) else {
        return Ok(None);
    };
    let parsed = value
        .parse()
        .map_err(|_| wrong(key, format!("{value:?} {otherwise}")));
    parsed.map(Some)
}

fn wrong(setting: &str, reason: String) -> Error {
    Error::Setting {
        setting: setting.to_owned(),
        reason,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings> {
        let pairs = pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()));
        Settings::parse(&pairs.collect())
    }

    #[test]
    fn without_settings_the_server_listens_on_the_host_only() {
        let found = parse(&[]).unwrap();
        assert_eq!(found.address.to_string(), "127.0.0.1:10810");
        assert_eq!(found.tls, None);
    }

    #[test]
    fn an_address_of_a_network_needs_all_files_of_tls() {
        let files = [("certificate", "/c"), ("key", "/k"), ("client-ca", "/a")];
        for listen in ["0.0.0.0", "192.0.2.1", "::"] {
            let text = parse(&[("listen", listen)]).unwrap_err().to_string();
            assert!(
                text.contains("without certificate, key, client-ca"),
                "{text}"
            );
            let text = parse(&[&files[..2], &[("listen", listen)]].concat())
                .unwrap_err()
                .to_string();
            assert!(text.contains("without client-ca:"), "{text}");
            assert!(parse(&[&files[..], &[("listen", listen)]].concat())
                .unwrap()
                .tls
                .is_some());
        }
        assert!(parse(&files[..2]).is_err());
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (key, value) in [
            ("listne", "::1"),
            ("listen", "host"),
            ("port", "0"),
            ("port", "65536"),
            ("timeout", "0"),
        ] {
            let text = parse(&[(key, value)]).unwrap_err().to_string();
            assert!(text.contains(&format!("{key}: ")), "{text}");
        }
    }
}
