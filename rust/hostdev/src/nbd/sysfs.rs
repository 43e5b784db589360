//! NBD devices as sysfs shows them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::Nbd;
use crate::Error;

const SECTOR: u64 = 512;

impl Nbd {
    /// The device's folder in sysfs.
    pub(super) fn block(&self, index: u32) -> PathBuf {
        self.sysfs.join(format!("block/nbd{index}"))
    }

    /// Which connection the device has; `None` if it has none.
    ///
    /// The kernel makes the file `pid` anew for each connection, and sysfs hands out its inode
    /// numbers in turn (from Linux 4.14 on): none comes back before 2^31 others. What stands in that
    /// file proves nothing: the process has ended, and kernels before 5.16 read its number from
    /// memory that was freed with it.
    pub(super) fn connection(&self, index: u32) -> Result<Option<u64>, Error> {
        let path = self.block(index).join("pid");
        match fs::metadata(&path) {
            Ok(file) => Ok(Some(file.ino())),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Error::io("look at", &path, error)),
        }
    }

    /// The indices of all connected devices, whoever connected them, in order.
    pub(super) fn connected(&self) -> Result<Vec<u32>, Error> {
        let blocks = self.sysfs.join("block");
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

    /// What the device was connected as, where the kernel shows that (from Linux 5.14 on).
    pub(super) fn backend(&self, index: u32) -> Result<Option<String>, Error> {
        self.attribute(index, "backend")
    }

    /// The device's size in bytes.
    pub(super) fn size(&self, index: u32) -> Result<Option<u64>, Error> {
        self.parsed(index, "size", "a number of sectors", |text| {
            text.parse::<u64>().ok()?.checked_mul(SECTOR)
        })
    }

    /// Whether the kernel refuses writes to it.
    pub(super) fn is_read_only(&self, index: u32) -> Result<Option<bool>, Error> {
        Ok(self.attribute(index, "ro")?.map(|text| text != "0"))
    }

    /// The device's major and minor number.
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

    /// An attribute's text; `None` if there is none, or the device is going.
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
    // ENODEV: it went away after the file was opened.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ENODEV as i32)
}
