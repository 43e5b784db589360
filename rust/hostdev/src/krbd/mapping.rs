//! Reads mappings from sysfs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;

use serde::{Deserialize, Serialize};

use super::Krbd;
use crate::Error;

/// The snapshot id in sysfs of a mapping of the image itself (`CEPH_NOSNAP`).
const HEAD: u64 = u64::MAX - 1;

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

impl Krbd {
    /// Returns the mapping with this device number; `None` if there is none, or if it is incomplete because
    /// the kernel creates or removes it now.
    pub(super) fn mapping(&self, device_number: u32) -> Result<Option<Mapping>, Error> {
        let name = format!("rbd{device_number}");
        let read = Attributes {
            device: self.bus().join("devices").join(device_number.to_string()),
            block: self.sysfs.join("block").join(&name),
        };
        let mapping = read.mapping(device_number, self.dev.join(&name));
        match mapping {
            Err(Missing::Attribute(path)) => {
                // If the mapping is complete, an unsupported kernel lacks the attribute.
                if read.is_complete()? {
                    Err(Error::io("read", &path, Errno::ENOENT.into()))
                } else {
                    Ok(None)
                }
            }
            Err(Missing::Failed(error)) => Err(error),
            Ok(mapping) => {
                let label = self.label_of(device_number, &mapping.key)?;
                Ok(Some(Mapping { label, ..mapping }))
            }
        }
    }
}

/// The directories of one mapping in sysfs.
struct Attributes {
    device: PathBuf,
    block: PathBuf,
}

enum Missing {
    Attribute(PathBuf),
    Failed(Error),
}

impl Attributes {
    /// Returns whether the mapping is complete: the kernel creates its block device last and removes it first.
    fn is_complete(&self) -> Result<bool, Error> {
        let exists = |path: &Path| {
            path.try_exists()
                .map_err(|error| Error::io("look for", path, error))
        };
        Ok(exists(&self.device)? && exists(&self.block)?)
    }

    fn mapping(&self, device_number: u32, node: PathBuf) -> Result<Mapping, Missing> {
        let snap_id = Some(self.number("snap_id")?).filter(|id| *id != HEAD);
        let snap_name = self.text("current_snap")?;
        let namespace = match self.text("pool_ns") {
            // Kernels before 4.19 have no namespaces.
            Err(Missing::Attribute(_)) => String::new(),
            other => other?,
        };
        Ok(Mapping {
            device_number,
            device: node,
            key: ImageKey {
                fsid: self.text("cluster_fsid")?,
                pool_id: self.number("pool_id")?,
                namespace,
                image_id: self.text("image_id")?,
                snap_id,
            },
            pool_name: self.text("pool")?,
            image_name: self.text("name")?,
            snap_name: snap_id.map(|_| snap_name),
            client_address: self.text("client_addr")?,
            client_id: self.parse("client_id", "client<number>", |text| {
                text.strip_prefix("client")?.parse().ok()
            })?,
            label: None,
            size: self.number("size")?,
            read_only: read_attribute(&self.block.join("ro"))? != "0",
            major: self.number("major")?,
            minor: self.number("minor")?,
        })
    }

    fn text(&self, name: &str) -> Result<String, Missing> {
        read_attribute(&self.device.join(name))
    }

    fn number<N: FromStr>(&self, name: &str) -> Result<N, Missing> {
        self.parse(name, "a number in range", |text| text.parse().ok())
    }

    fn parse<T>(
        &self,
        name: &str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Missing> {
        let text = self.text(name)?;
        parse(&text).ok_or_else(|| {
            Missing::Failed(Error::Unreadable {
                path: self.device.join(name),
                text,
                expected,
            })
        })
    }
}

fn read_attribute(path: &Path) -> Result<String, Missing> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end_matches('\n').to_owned()),
        // ENODEV: the device was removed after the file was opened.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::ENODEV as i32) =>
        {
            Err(Missing::Attribute(path.to_owned()))
        }
        Err(error) => Err(Missing::Failed(Error::io("read", path, error))),
    }
}

#[cfg(test)]
mod tests;
