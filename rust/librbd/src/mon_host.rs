//! Parses Ceph's option `mon_host`. An entry is `HOST`, `HOST:PORT`, `v1:HOST:PORT`, or several addresses of
//! one monitor in brackets, `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The ports of monitors.
const PORTS: [&str; 2] = ["3300", "6789"];

/// Splits a list at each separator outside brackets. Returns `None` if the brackets do not match.
pub fn mon_host_entries(list: &str, separators: impl Fn(char) -> bool) -> Option<Vec<&str>> {
    let mut entries = Vec::new();
    let mut depth = 0_u32;
    let mut start = 0;
    for (at, c) in list.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1)?,
            c if depth == 0 && separators(c) => {
                entries.push(&list[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    entries.push(&list[start..]);
    (depth == 0).then_some(entries)
}

/// Returns whether an entry is valid.
pub fn is_mon_host_entry(entry: &str) -> bool {
    let inner = || entry.strip_prefix('[')?.strip_suffix(']');
    let group = || mon_host_entries(inner()?, |c| c == ',');
    // An address first: [fd00::1]:6789 begins with a bracket and is no group.
    is_address(entry) || group().is_some_and(|group| group.into_iter().all(is_address))
}

/// Returns the fault of the first invalid entry of a `mon_host`; `None` if all are valid.
pub(crate) fn fault(list: &str) -> Option<String> {
    let Some(entries) = mon_host_entries(list, |c| ",; \t".contains(c)) else {
        return Some(format!("the brackets in {list} do not match"));
    };
    let mut entries = entries.into_iter().filter(|entry| !entry.is_empty());
    let wrong = entries.find(|entry| !is_mon_host_entry(entry))?;
    Some(format!(
        "{wrong} is neither ADDRESS, ADDRESS:PORT nor [v2:ADDRESS:PORT,v1:ADDRESS:PORT]"
    ))
}

/// Returns a hint about the first valid entry that is probably a mistake.
pub(crate) fn suspicion(list: &str) -> Option<String> {
    let entries = mon_host_entries(list, |c| ",; \t".contains(c))?;
    entries.into_iter().find_map(|entry| {
        let (host, port) = entry.rsplit_once(':')?;
        let is_whole = entry.parse::<Ipv6Addr>().is_ok() && host.parse::<Ipv6Addr>().is_ok();
        (is_whole && PORTS.contains(&port))
            .then(|| format!("{entry} is an address without a port: write [{host}]:{port}"))
    })
}

/// `[v1:|v2:|any:]HOST[:PORT][/NONCE]`
fn is_address(text: &str) -> bool {
    let text = ["v1:", "v2:", "any:"]
        .iter()
        .find_map(|messenger| text.strip_prefix(messenger))
        .unwrap_or(text);
    let text = match text.split_once('/') {
        Some((_, nonce)) if nonce.parse::<u32>().is_err() => return false,
        Some((address, _)) => address,
        None => text,
    };
    if text.parse::<IpAddr>().is_ok() {
        return true; // before the search for a port: an IPv6 address contains colons
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
        return false;
    }
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(bracketed) => bracketed.parse::<Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    }
}

/// A DNS name or an IPv4 address. A text of only digits and dots must be an address, so 10.0.0 is invalid.
fn is_host_name(host: &str) -> bool {
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253
        && host.trim_end_matches('.').split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_finds_an_invalid_entry() {
        for (list, wrong) in [
            ("10.0.0.1,10.0.0.2:port", "10.0.0.2:port"),
            ("10.0.0.1:99999", "10.0.0.1:99999"),
            ("fd00::zz", "fd00::zz"),
            ("tcp://10.0.0.1:6789", "tcp://10.0.0.1:6789"),
            ("[v2:10.0.0.1:3300,v1:10.0.0.1:6789", "do not match"),
        ] {
            let found = fault(list).unwrap_or_default();
            assert!(found.contains(wrong), "{list}: {found}");
        }
        for list in [
            "10.0.0.1,,10.0.0.2:6789, mon_a;mon-b.example.test.:3300",
            "fd00::1 [fd00::2]:6789 [v2:[fd00::3]:3300/0,v1:[fd00::3]:6789/0]",
            "",
        ] {
            assert_eq!(fault(list), None);
        }
    }

    #[test]
    fn suspicion_finds_a_port_after_an_ipv6_address_without_brackets() {
        let found = suspicion("10.0.0.1,fd00::1:6789").unwrap_or_default();
        assert!(found.contains("write [fd00::1]:6789"), "{found}");
        assert_eq!(suspicion("fd00::1,[fd00::1]:6789,fd00::6789"), None);
    }
}
