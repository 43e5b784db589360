//! The block device of an export.
//!
//! Reads and writes go past the page cache, so that what a client gets is what the storage has. Requests that
//! are no multiples of the device's block are widened here; clients may send such ones.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{LazyLock, RwLock};

use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags, OFlag};

use crate::aligned::Aligned;

/// In one call of the kernel: a request for more reports its progress in between.
const STEP: u64 = 64 << 20;
/// In one write of zeros.
const ZEROS: usize = 1 << 20;
/// In one write of data that has to be copied.
const COPY: usize = 256 << 10;

/// Notes that a part of a request is done. Returns whether the rest is to be done.
pub type Progress<'a> = &'a dyn Fn() -> bool;

/// An open block device, or a file.
#[derive(Debug)]
pub struct Device {
    file: File,
    size: u64,
    /// The unit of I/O, in bytes; 1 through the page cache.
    block: u32,
    /// A write of a part of a block reads the block first: no other write may be under way.
    parts: RwLock<()>,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// It cannot be opened, or its size cannot be read.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let open = |flags: OFlag| {
            let mut options = OpenOptions::new();
            options.read(true).write(!read_only);
            options
                .custom_flags((flags | OFlag::O_CLOEXEC).bits())
                .open(path)
        };
        let mut file = match open(OFlag::O_DIRECT) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                open(OFlag::empty()) // a file of a file system without direct I/O
            }
            other => other,
        }?;
        let size = file.seek(SeekFrom::End(0))?;
        let mut block = block_of(&file)?;
        if size % u64::from(block) != 0 {
            file = open(OFlag::empty())?;
            block = 1;
        }
        Ok(Self {
            file,
            size,
            block,
            parts: RwLock::new(()),
        })
    }

    /// Returns the size, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the unit of I/O, in bytes.
    #[must_use]
    pub fn block(&self) -> u32 {
        self.block
    }

    /// Reads that many bytes.
    ///
    /// # Errors
    /// The device's.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Aligned> {
        let (from, to) = self.widened(offset, length as u64);
        let mut buffer = Aligned::new((to - from) as usize);
        self.file.read_exact_at(buffer.all(), from)?;
        buffer.narrow((offset - from) as usize, length);
        Ok(buffer)
    }

    /// Writes the data.
    ///
    /// # Errors
    /// The device's.
    pub fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (from, to) = self.widened(offset, data.len() as u64);
        if to - from == data.len() as u64 {
            let _shared = self.parts.read();
            if self.block == 1 || Aligned::is_aligned(data) {
                return self.file.write_all_at(data, offset);
            }
            return self.write_copies(from, to, offset, data);
        }
        let _alone = self.parts.write();
        self.write_copies(from, to, offset, data)
    }

    /// Writes whole blocks that contain the data, by copies of parts of it.
    fn write_copies(&self, from: u64, to: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut copy = Aligned::new(COPY.min((to - from) as usize));
        let (mut at, mut left) = (from, data);
        while at < to {
            let end = (at + COPY as u64).min(to);
            let part = &mut copy.all()[..(end - at) as usize];
            let first = (at.max(offset) - at) as usize;
            let (now, later) = left.split_at(left.len().min(part.len() - first));
            if now.len() < part.len() {
                self.file.read_exact_at(part, at)?;
            }
            part[first..first + now.len()].copy_from_slice(now);
            self.file.write_all_at(part, at)?;
            (at, left) = (end, later);
        }
        Ok(())
    }

    /// Returns when all data that was written before is on the disk.
    ///
    /// # Errors
    /// The device's.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Drops data that is not needed. A device that cannot do that keeps it.
    ///
    /// # Errors
    /// The device's.
    pub fn trim(&self, offset: u64, length: u64, progress: Progress<'_>) -> io::Result<()> {
        let block = u64::from(self.block);
        let (from, to) = (
            offset.next_multiple_of(block),
            (offset + length) / block * block,
        );
        if from >= to {
            return Ok(());
        }
        match self.punch(from, to, progress) {
            Err(error) if is_unsupported(&error) => Ok(()),
            other => other,
        }
    }

    /// Writes zeros. `hole`: the space may be freed. `fast`: `ENOTSUP` if it would not be quicker than a write.
    ///
    /// # Errors
    /// The device's.
    pub fn zero(
        &self,
        offset: u64,
        length: u64,
        (hole, fast): (bool, bool),
        progress: Progress<'_>,
    ) -> io::Result<()> {
        let block = u64::from(self.block);
        let end = offset + length;
        let (from, to) = (offset.next_multiple_of(block), end / block * block);
        if hole && from < to {
            match self.punch(from, to, progress) {
                Ok(()) => {
                    self.write_zeros(offset, from, progress)?;
                    return self.write_zeros(to, end, progress);
                }
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if fast {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.write_zeros(offset, end, progress)
    }

    /// Makes a hole, which is read as zeros, of whole blocks. The kernel writes no data for it: on a block device
    /// this is `blkdev_issue_zeroout` with `BLKDEV_ZERO_NOFALLBACK` (`blkdev_fallocate`, Linux 4.9).
    fn punch(&self, from: u64, to: u64, progress: Progress<'_>) -> io::Result<()> {
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let _shared = self.parts.read();
        let mut at = from;
        while at < to {
            let step = STEP.min(to - at);
            fallocate(&self.file, how, signed(at)?, signed(step)?)?;
            at += step;
            go_on(progress)?;
        }
        Ok(())
    }

    fn write_zeros(&self, from: u64, to: u64, progress: Progress<'_>) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        // One buffer for all devices: many requests are under way at once.
        static BUFFER: LazyLock<Aligned> = LazyLock::new(|| Aligned::new(ZEROS));
        let zeros = BUFFER.data();
        let mut at = from;
        while at < to {
            // Up to a multiple of the step: then all but the first and the last part are whole blocks.
            let next = (at / ZEROS as u64 + 1) * ZEROS as u64;
            let length = next.min(to) - at;
            self.write(at, &zeros[..length as usize])?;
            at += length;
            go_on(progress)?;
        }
        Ok(())
    }

    /// Returns the blocks that contain a range, as start and end.
    fn widened(&self, offset: u64, length: u64) -> (u64, u64) {
        let block = u64::from(self.block);
        (
            offset / block * block,
            (offset + length).next_multiple_of(block),
        )
    }
}

/// Returns the block of a device, in bytes; that of most file systems for a file.
fn block_of(file: &File) -> io::Result<u32> {
    let about = file.metadata()?;
    if about.mode() & nix::libc::S_IFMT != nix::libc::S_IFBLK {
        return Ok(4096);
    }
    let (major, minor) = (
        nix::sys::stat::major(about.rdev()),
        nix::sys::stat::minor(about.rdev()),
    );
    let path = format!("/sys/dev/block/{major}:{minor}/queue/logical_block_size");
    let text = std::fs::read_to_string(path)?;
    let found = text
        .trim()
        .parse()
        .ok()
        .filter(|size: &u32| size.is_power_of_two());
    found.ok_or_else(|| io::Error::other("the kernel reports no size of the device's blocks"))
}

/// # Errors
/// `ECANCELED`: the rest is not to be done.
fn go_on(progress: Progress<'_>) -> io::Result<()> {
    if progress() {
        Ok(())
    } else {
        Err(Errno::ECANCELED.into())
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
        || [Errno::EOPNOTSUPP, Errno::ENODEV, Errno::ENOSYS]
            .iter()
            .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn signed(number: u64) -> io::Result<i64> {
    i64::try_from(number).map_err(|_| Errno::EFBIG.into())
}
