//! A mapping, and the identity of its image.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The identity of an image or a snapshot, without names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageKey {
    /// The cluster.
    pub fsid: String,
    /// The pool's id.
    pub pool_id: i64,
    /// The RADOS namespace; empty for the default one.
    pub namespace: String,
    /// The image's id.
    pub image_id: String,
    /// The snapshot's id; `None` for the image itself.
    pub snap_id: Option<u64>,
}

/// One RBD device of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The N of `/dev/rbdN`.
    pub device_number: u32,
    /// The block device.
    pub device: PathBuf,
    /// The image or snapshot.
    pub key: ImageKey,
    /// The pool's name when it was mapped.
    pub pool_name: String,
    /// The image's name when it was mapped. Another image may have it now.
    pub image_name: String,
    /// The snapshot's name when it was mapped; `None` for the image itself.
    pub snap_name: Option<String>,
    /// The kernel client's address, `ip:port/nonce`: a fence blocklists it.
    pub client_address: String,
    /// The kernel client's number, the N of `client.N` in the list of an image's watchers.
    pub client_id: u64,
    /// Size in bytes.
    pub size: u64,
    /// The label that it was mapped with.
    pub label: Option<String>,
    /// Whether the kernel refuses writes to it.
    pub read_only: bool,
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
}

impl Mapping {
    /// Returns the name that it was mapped by: `pool/image`, `pool/namespace/image@snapshot`.
    pub fn spec(&self) -> String {
        spec(
            &self.pool_name,
            &self.key.namespace,
            &self.image_name,
            self.snap_name.as_deref(),
        )
    }
}

/// Returns an image's full name, as `rbd` writes it.
pub(super) fn spec(pool: &str, namespace: &str, image: &str, snap: Option<&str>) -> String {
    let mut text = format!("{pool}/");
    if !namespace.is_empty() {
        text.push_str(namespace);
        text.push('/');
    }
    text.push_str(image);
    if let Some(snap) = snap {
        text.push('@');
        text.push_str(snap);
    }
    text
}
