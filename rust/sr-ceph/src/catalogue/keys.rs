//! The names of a catalogue's object and of its keys.

use uuid::Uuid;

/// The object that lists the SRs of a pool: an omap key `sr.<uuid>` for each.
pub const DIRECTORY: &str = "smblock.directory";
/// The catalogue's key for the SR itself.
pub(crate) const SR_KEY: &str = "sr";
/// Prefix of the keys of VDIs.
pub(crate) const VDI_PREFIX: &str = "vdi.";
/// Prefix of the keys of operations under way.
pub(crate) const INTENT_PREFIX: &str = "op.";

/// Name of an SR's catalogue object.
pub fn catalogue_object(sr: &Uuid) -> String {
    format!("smblock.sr.{sr}")
}

/// Prefix of the names of all images of an SR.
pub fn image_prefix(sr: &Uuid) -> String {
    format!("smblock.{sr}.")
}

/// The directory's key for an SR.
pub(crate) fn directory_key(sr: &Uuid) -> String {
    format!("sr.{sr}")
}

/// Prefix of the keys of hidden images.
pub(crate) const HIDDEN_PREFIX: &str = "hidden.";

pub(crate) fn hidden_key(image_id: &str) -> String {
    format!("{HIDDEN_PREFIX}{image_id}")
}

/// Prefix of the keys of images that were cloned from tracked snapshots.
pub(crate) const LINEAGE_PREFIX: &str = "lineage.";

pub(crate) fn lineage_key(image_id: &str) -> String {
    format!("{LINEAGE_PREFIX}{image_id}")
}

/// Prefix of the keys of hosts.
pub(crate) const HOST_PREFIX: &str = "host.";

/// The key of a host, by its UUID in XAPI.
pub(crate) fn host_key(host: &str) -> String {
    format!("{HOST_PREFIX}{host}")
}

/// Prefix of the keys of an image's readers.
pub(crate) fn reader_prefix(image_id: &str) -> String {
    format!("reader.{image_id}.")
}

pub(crate) fn vdi_key(vdi: &Uuid) -> String {
    format!("{VDI_PREFIX}{vdi}")
}

pub(crate) fn intent_key(vdi: &Uuid) -> String {
    format!("{INTENT_PREFIX}{vdi}")
}
