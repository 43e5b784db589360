//! The names of a catalogue's object and of its keys.

use uuid::Uuid;

/// The object that lists the SRs of a pool: an omap key `sr.<uuid>` for each.
pub const DIRECTORY: &str = "smblock.directory";
/// The catalogue's key for the SR itself.
pub(crate) const SR_KEY: &str = "sr";
/// What the keys of VDIs start with.
pub(crate) const VDI_PREFIX: &str = "vdi.";
/// What the keys of operations under way start with.
pub(crate) const INTENT_PREFIX: &str = "op.";

/// Name of an SR's catalogue object.
pub fn catalogue_object(sr: &Uuid) -> String {
    format!("smblock.sr.{sr}")
}

/// What the names of all images of an SR start with.
pub fn image_prefix(sr: &Uuid) -> String {
    format!("smblock.{sr}.")
}

/// The directory's key for an SR.
pub(crate) fn directory_key(sr: &Uuid) -> String {
    format!("sr.{sr}")
}

/// What the keys of hidden images start with.
pub(crate) const HIDDEN_PREFIX: &str = "hidden.";

pub(crate) fn hidden_key(image_id: &str) -> String {
    format!("{HIDDEN_PREFIX}{image_id}")
}

/// The key of a host, by its UUID in XAPI.
pub(crate) fn host_key(host: &str) -> String {
    format!("host.{host}")
}

/// What the keys of an image's readers start with.
pub(crate) fn reader_prefix(image_id: &str) -> String {
    format!("reader.{image_id}.")
}

pub(crate) fn vdi_key(vdi: &Uuid) -> String {
    format!("{VDI_PREFIX}{vdi}")
}

pub(crate) fn intent_key(vdi: &Uuid) -> String {
    format!("{INTENT_PREFIX}{vdi}")
}
