//! Which clients the entries of the cluster's blocklist cut off.

/// Whether a client is on the blocklist, alone or with all clients of its IP address.
pub(crate) fn is_cut_off(blocklist: &[String], address: &str) -> bool {
    let all = all_clients_of(address);
    blocklist
        .iter()
        .any(|entry| entry == address || Some(entry) == all.as_ref())
}

/// Returns the blocklist's entry for all clients of a client's IP address: `IP:0/0`.
pub(crate) fn all_clients_of(address: &str) -> Option<String> {
    let (ip, _port) = address.split('/').next()?.rsplit_once(':')?;
    Some(format!("{ip}:0/0"))
}

#[cfg(test)]
mod tests {
    use super::{all_clients_of, is_cut_off};

    #[test]
    fn all_clients_of_an_address_have_its_ip() {
        for (address, all) in [
            ("192.0.2.1:0/1234", "192.0.2.1:0/0"),
            ("192.0.2.1:6789/1", "192.0.2.1:0/0"),
            ("[2001:db8::1]:0/99", "[2001:db8::1]:0/0"),
        ] {
            assert_eq!(all_clients_of(address).as_deref(), Some(all));
        }
    }

    #[test]
    fn an_entry_for_a_whole_address_cuts_off_each_client_of_it() {
        let blocklist = ["192.0.2.1:0/0".to_owned(), "192.0.2.2:0/7".to_owned()];
        for (address, cut_off) in [
            ("192.0.2.1:0/1234", true),
            ("192.0.2.2:0/7", true),
            ("192.0.2.2:0/8", false),
            ("192.0.2.11:0/1234", false),
        ] {
            assert_eq!(is_cut_off(&blocklist, address), cut_off, "{address}");
        }
    }
}
