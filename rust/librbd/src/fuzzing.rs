//! Entry points of `make fuzz`: each gives bytes to a parser of what the cluster sends. None may panic.

use serde_json::Value;

/// A reply to `mon dump`.
pub fn mon_dump(reply: &[u8]) {
    if let Ok(dump) = serde_json::from_slice::<Value>(reply) {
        let _ = crate::monitors::parse(&dump);
    }
}

/// A reply to `osd blocklist ls`. Networks are never taken for clients.
pub fn blocklist(reply: &[u8]) {
    if let Ok(entries) = crate::blocklist::parse(reply) {
        assert!(entries.iter().all(|e| !e.address.starts_with("cidr:")));
    }
}

/// A reply of the class `rbd`, read as each of its methods has it.
pub fn header(reply: &[u8]) {
    crate::header::read_in_every_way(reply);
}
