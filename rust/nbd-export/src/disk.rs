//! What an export needs of its device, so that tests can have others.

use std::io;

use crate::aligned::Aligned;
use crate::device::{Device, Progress};

/// A device that requests of one client are served from, several at once.
pub trait Disk: Send + Sync {
    /// Returns the size, in bytes.
    fn size(&self) -> u64;

    /// Returns the unit of I/O, in bytes.
    fn block(&self) -> u32;

    /// Reads that many bytes.
    ///
    /// # Errors
    /// The device's.
    fn read(&self, offset: u64, length: usize) -> io::Result<Aligned>;

    /// Writes the data.
    ///
    /// # Errors
    /// The device's.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Returns when all data that was written before is on the disk.
    ///
    /// # Errors
    /// The device's.
    fn flush(&self) -> io::Result<()>;

    /// Drops data that is not needed; calls `progress` from time to time.
    ///
    /// # Errors
    /// The device's; `ECANCELED` if `progress` returns `false`.
    fn trim(&self, offset: u64, length: u64, progress: Progress<'_>) -> io::Result<()>;

    /// Writes zeros; calls `progress` from time to time.
    ///
    /// # Errors
    /// The device's; `EOPNOTSUPP` if it has to be quick, and cannot be; `ECANCELED` if `progress` returns `false`.
    fn zero(&self, offset: u64, length: u64, how: Zero, progress: Progress<'_>) -> io::Result<()>;
}

/// How zeros are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zero {
    /// The space may be freed.
    pub hole: bool,
    /// Fail if that is not quicker than a write.
    pub fast: bool,
}

impl Disk for Device {
    fn size(&self) -> u64 {
        self.size()
    }

    fn block(&self) -> u32 {
        self.block()
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Aligned> {
        self.read(offset, length)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data)
    }

    fn flush(&self) -> io::Result<()> {
        self.flush()
    }

    fn trim(&self, offset: u64, length: u64, progress: Progress<'_>) -> io::Result<()> {
        self.trim(offset, length, progress)
    }

    fn zero(&self, offset: u64, length: u64, how: Zero, progress: Progress<'_>) -> io::Result<()> {
        self.zero(offset, length, (how.hole, how.fast), progress)
    }
}
