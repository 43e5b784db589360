//! Reads NBD devices from sysfs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::Error;

const SECTOR: u64 = 512;

/// The kernel's NBD devices in sysfs.
#[derive(Clone, Debug)]
pub(super) struct Sysfs {
    root: PathBuf,
}

impl Sysfs {
    /// As `/sys`, at another path.
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns its path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the device's directory in sysfs.
    fn block(&self, index: u32) -> PathBuf {
        self.root.join(format!("block/nbd{index}"))
    }

    /// Returns the number of the device's connection; `None` if it has none.
    ///
    /// It is the inode of the file `pid`, which the kernel creates for each connection. Since Linux 4.14,
    /// sysfs uses an inode number again only after 2^31 others. The content of the file is useless: the
    /// process has ended, and kernels before 5.16 read its pid from freed memory.
    pub(super) fn connection(&self, index: u32) -> Result<Option<u64>, Error> {
        let path = self.block(index).join("pid");
        match fs::metadata(&path) {
            Ok(file) => Ok(Some(file.ino())),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Error::io("look at", &path, error)),
        }
    }

    /// Returns the indices of all connected devices, also those of other programs, in order.
    pub(super) fn connected(&self) -> Result<Vec<u32>, Error> {
        let blocks = self.root.join("block");
        let failed = |error| Error::io("list", &blocks, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&blocks).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let index = name.to_str().and_then(|name| name.strip_prefix("nbd"));
            if let Some(index) = index.and_then(|digits| digits.parse().ok()) {
                if self.connection(index)?.is_some() {
                    found.push(index);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Returns the device's `backend`; `None` before Linux 5.14.
    pub(super) fn backend(&self, index: u32) -> Result<Option<String>, Error> {
        self.attribute(index, "backend")
    }

    /// Returns the device's size in bytes.
    pub(super) fn size(&self, index: u32) -> Result<Option<u64>, Error> {
        self.parsed(index, "size", "a number of sectors", |text| {
            text.parse::<u64>().ok()?.checked_mul(SECTOR)
        })
    }

    /// Returns whether the kernel refuses writes to it.
    pub(super) fn is_read_only(&self, index: u32) -> Result<Option<bool>, Error> {
        Ok(self.attribute(index, "ro")?.map(|text| text != "0"))
    }

    /// Returns the device's major and minor number.
    pub(super) fn number(&self, index: u32) -> Result<Option<(u32, u32)>, Error> {
        self.parsed(index, "dev", "major:minor", |text| {
            let (major, minor) = text.split_once(':')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
    }

    fn parsed<T>(
        &self,
        index: u32,
        name: &str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.attribute(index, name)? else {
            return Ok(None);
        };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Unreadable {
                path: self.block(index).join(name),
                text,
                expected,
            }),
        }
    }

    /// Returns an attribute's text; `None` if it does not exist, or the device is removed now.
    fn attribute(&self, index: u32, name: &str) -> Result<Option<String>, Error> {
        let path = self.block(index).join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim_end_matches('\n').to_owned())),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    // ENODEV: the device was removed after the file was opened.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ENODEV as i32)
}
