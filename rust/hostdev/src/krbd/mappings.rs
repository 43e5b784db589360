//! Reads mappings from sysfs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;

use super::client::Krbd;
use super::mapping::{ImageKey, Mapping};
use crate::Error;

/// The snapshot id in sysfs of a mapping of the image itself (`CEPH_NOSNAP`).
const HEAD: u64 = u64::MAX - 1;

impl Krbd {
    /// Returns all RBD mappings of this host, by device number. None if the module is not loaded. Omits a
    /// mapping that appears or disappears during the call.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unreadable`]: an incomplete list is never returned.
    pub fn mappings(&self) -> Result<Vec<Mapping>, Error> {
        if !self.is_loaded()? {
            return Ok(Vec::new());
        }
        let devices = self.bus().join("devices");
        let failed = |error| Error::io("list", &devices, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&devices).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|text| text.parse().ok());
            let number = number.ok_or_else(|| Error::Unreadable {
                path: devices.clone(),
                text: name.to_string_lossy().into_owned(),
                expected: "a device number",
            })?;
            found.extend(self.mapping(number)?);
        }
        found.sort_by_key(|mapping| mapping.device_number);
        Ok(found)
    }

    /// Returns the mappings of one image or snapshot, by device number: one for each label, and those that
    /// another program made.
    ///
    /// # Errors
    /// As [`Krbd::mappings`].
    pub fn find(&self, key: &ImageKey) -> Result<Vec<Mapping>, Error> {
        let mut found = self.mappings()?;
        found.retain(|mapping| mapping.key == *key);
        Ok(found)
    }

    /// Returns the mappings of an image that have that label.
    ///
    /// # Errors
    /// As [`Krbd::mappings`].
    pub fn find_labelled(
        &self,
        key: &ImageKey,
        label: Option<&str>,
    ) -> Result<Vec<Mapping>, Error> {
        let mut found = self.find(key)?;
        found.retain(|mapping| mapping.label.as_deref() == label);
        Ok(found)
    }

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
