//! Entry points of `make fuzz`: each gives bytes to a parser of a file of an administrator, or of the output
//! of a provisioner or a program of Crucible. None may panic.

use crate::{check_distinct, control, declaration, key, provisioner, target};

/// A file that declares volumes.
pub fn volumes_file(text: &str) {
    match declaration::parse(text) {
        Ok(volumes) => assert!(check_distinct(&volumes).is_ok()),
        Err((line, _)) => assert!(line >= 1 && line <= text.lines().count() + 1, "line {line}"),
    }
}

/// The key of an encrypted volume.
pub fn volume_key(text: &str) {
    let _ = key::parse(text, "fuzzing");
}

/// The output of a provisioner.
pub fn provisioner(reply: &[u8]) {
    provisioner::read_reply(reply);
}

/// `/info` of a server, and `/region-info` of a storage server.
pub fn status(reply: &[u8]) {
    if let Ok(info) = serde_json::from_slice::<control::Info>(reply) {
        let _ = info.to_string();
    }
    target::read_region_info(reply);
}
