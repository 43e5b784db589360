//! What each value may look like.
//!
//! Values travel on into places with separators of their own: a pool and a user into the line
//! written to `/sys/bus/rbd/add` (space, comma, equals sign), paths into librados, which takes a
//! *list* of files (comma, semicolon, colon, space) and expands `$name`, all of them into commands
//! that error messages advise (quotes, leading dash). So each kind has the characters that are
//! known to be harmless everywhere, and the rest is refused here, once.

use std::net::IpAddr;

use sr::device_config::{characters, no_leading_dash, Problem};

const POOL_LIMIT: usize = 255;
const USER_LIMIT: usize = 128;
const MON_HOST_LIMIT: usize = 1024;

/// A pool's name: what Ceph takes, but for what the kernel and `rbd` use as separators.
pub(super) fn pool(value: &str) -> Result<String, Problem> {
    characters(
        value,
        POOL_LIMIT,
        |c| c.is_alphanumeric() || "._-+:".contains(c),
        "letters, digits and . _ - + : (a pool named otherwise cannot be mapped safely)",
    )?;
    no_leading_dash(value)?;
    Ok(value.to_owned())
}

/// A cephx user's id, given as `smblock` or as `client.smblock`: Ceph's own output shows the
/// latter everywhere. One prefix is taken off, so even a `client.client.x` can be named.
pub(super) fn user(value: &str) -> Result<String, Problem> {
    characters(
        value,
        USER_LIMIT,
        |c| c.is_ascii_alphanumeric() || "._-".contains(c),
        "letters, digits and . _ -",
    )?;
    let id = value.strip_prefix("client.").unwrap_or(value);
    if id.is_empty() {
        return Err(Problem::Meaning(
            "nothing follows 'client.'; give the user's id, as in client.ID".to_owned(),
        ));
    }
    no_leading_dash(id)?;
    Ok(id.to_owned())
}

/// Monitors as Ceph's option `mon_host` lists them: comma separated, each `HOST`, `HOST:PORT`,
/// `v1:HOST:PORT` or several addresses of one monitor in brackets,
/// `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]`.
pub(super) fn mon_host(value: &str) -> Result<String, Problem> {
    characters(
        value,
        MON_HOST_LIMIT,
        |c| c.is_ascii_alphanumeric() || ".-:,[]/".contains(c),
        "addresses separated by commas, without spaces",
    )?;
    if items(value).is_some_and(|monitors| monitors.into_iter().all(is_monitor)) {
        return Ok(value.to_owned());
    }
    Err(Problem::Meaning(
        "give a comma separated list of monitors, each ADDRESS, ADDRESS:PORT or \
         [v2:ADDRESS:PORT,v1:ADDRESS:PORT]"
            .to_owned(),
    ))
}

/// Splits at the commas outside brackets; `None` where the brackets do not match.
fn items(list: &str) -> Option<Vec<&str>> {
    let mut items = Vec::new();
    let mut depth = 0_u32;
    let mut start = 0;
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    (depth == 0).then_some(items)
}

fn is_monitor(item: &str) -> bool {
    let group = || item.strip_prefix('[')?.strip_suffix(']').and_then(items);
    // An address first: [fd00::1]:6789 begins with a bracket and is no group.
    is_address(item) || group().is_some_and(|group| group.into_iter().all(is_address))
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
        return true; // before looking for a port: a bare IPv6 address is full of colons
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
        return false;
    }
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(bracketed) => bracketed.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    }
}

/// A DNS name or an IPv4 address. All digits and dots is an address, so 10.0.0 is neither.
fn is_host_name(host: &str) -> bool {
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
