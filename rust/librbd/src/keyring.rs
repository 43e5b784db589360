//! The part of a Ceph keyring file that is needed: one user's key.

use crate::Secret;

/// The key of `entity` (such as `client.xcp`) in a keyring's text.
///
/// A keyring is in Ceph's INI form: sections named by entity, `key = <base64>` in them, comments
/// from `#` or `;` on. Where a section or key stands more than once, the last one counts.
pub(crate) fn find_key(text: &str, entity: &str) -> Option<Secret> {
    let mut in_section = false;
    let mut key = None;
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default().trim();
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            in_section = section.trim() == entity;
        } else if let (true, Some((name, value))) = (in_section, line.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if name.trim() == "key" && !value.is_empty() {
                key = Some(Secret::new(value));
            }
        }
    }
    key
}

/// The files in a `keyring` option, which may be a list.
pub(crate) fn files(option: &str) -> impl Iterator<Item = &str> {
    option
        .split([',', ';', ' ', '\t'])
        .filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYRING: &str = "\
# made by hand
[client.admin]
\tkey = AQAdminAdmin==
\tcaps mon = \"allow *\"
; another comment
[ client.xcp ]   # with a space
    key=\"AQXcpXcp+/9==\" ; and a comment
    caps osd = \"profile rbd pool=key\"
[client.empty]
    key =
";

    fn key(text: &str, entity: &str) -> Option<String> {
        find_key(text, entity).map(|key| key.expose().to_owned())
    }

    #[test]
    fn a_users_key_is_found_in_its_own_section() {
        assert_eq!(
            key(KEYRING, "client.admin").as_deref(),
            Some("AQAdminAdmin==")
        );
        assert_eq!(key(KEYRING, "client.xcp").as_deref(), Some("AQXcpXcp+/9=="));
    }

    #[test]
    fn a_user_without_a_key_has_none() {
        assert_eq!(key(KEYRING, "client.other"), None);
        assert_eq!(key(KEYRING, "client.empty"), None);
        assert_eq!(key("key = AQOutsideOfAnySection==", "client.xcp"), None);
        assert_eq!(key("", "client.xcp"), None);
    }

    #[test]
    fn the_last_of_two_keys_counts() {
        let text = "[client.a]\nkey = one==\n[client.b]\nkey = b==\n[client.a]\r\nkey = two==\r\n";
        assert_eq!(key(text, "client.a").as_deref(), Some("two=="));
    }

    #[test]
    fn a_keyring_option_may_name_several_files() {
        let option = "/etc/ceph/ceph.client.xcp.keyring,/etc/ceph/ceph.keyring, /etc/ceph/keyring";
        assert_eq!(files(option).count(), 3);
        assert_eq!(files("").count(), 0);
    }
}
