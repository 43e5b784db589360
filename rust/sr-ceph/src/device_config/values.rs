//! The syntax of each value.
//!
//! Values are passed to places with separators of their own: a pool and a user to the line written to
//! `/sys/bus/rbd/add` (space, comma, equals sign), paths to librados, which takes a *list* of files (comma,
//! semicolon, colon, space) and expands `$name`, all of them to commands in error messages (quotes, leading
//! dash). So each kind of value may only have characters that are harmless everywhere. All others are refused
//! here.

use sr::device_config::{characters, no_leading_dash, Problem};

const POOL_LIMIT: usize = 255;
const USER_LIMIT: usize = 128;
const MON_HOST_LIMIT: usize = 1024;

/// A pool's name: what Ceph accepts, without the separators of the kernel and of `rbd`.
pub(super) fn pool(value: &str) -> Result<String, Problem> {
    characters(
        value,
        POOL_LIMIT,
        |c| c.is_alphanumeric() || "._-+:".contains(c),
        "letters, digits and . _ - + : (other names cannot be mapped safely)",
    )?;
    no_leading_dash(value)?;
    Ok(value.to_owned())
}

/// A RADOS namespace of the pool, with the characters that caps can name without quotes.
pub(super) fn namespace(value: &str) -> Result<String, Problem> {
    characters(
        value,
        POOL_LIMIT,
        |c| c.is_ascii_alphanumeric() || "._-".contains(c),
        "letters, digits and . _ -",
    )?;
    no_leading_dash(value)?;
    Ok(value.to_owned())
}

/// A cephx user's id, given as `smblock` or as `client.smblock`, as Ceph's own output shows it. One prefix is
/// removed, so `client.client.x` can be named.
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

/// Monitors in the format of Ceph's option `mon_host`: separated by commas, each `HOST`, `HOST:PORT`,
/// `v1:HOST:PORT` or several addresses of one monitor in brackets,
/// `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]`.
pub(super) fn mon_host(value: &str) -> Result<String, Problem> {
    characters(
        value,
        MON_HOST_LIMIT,
        |c| c.is_ascii_alphanumeric() || ".-:,[]/".contains(c),
        "addresses separated by commas, without spaces",
    )?;
    let monitors = librbd::mon_host_entries(value, |c| c == ',');
    if monitors.is_some_and(|list| list.into_iter().all(librbd::is_mon_host_entry)) {
        return Ok(value.to_owned());
    }
    Err(Problem::Meaning(
        "give a comma separated list of monitors, each ADDRESS, ADDRESS:PORT or \
         [v2:ADDRESS:PORT,v1:ADDRESS:PORT]"
            .to_owned(),
    ))
}
