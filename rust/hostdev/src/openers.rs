//! Who has a block device open.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::makedev;
use procfs::process::{all_processes, FDTarget, Process};

use crate::deadline::Deadline;

/// How many a message names.
const NAMED: usize = 8;

/// A block device, for asking who uses it.
pub(crate) struct BlockDevice<'a> {
    /// Its node, such as `/dev/rbd0`.
    pub node: &'a Path,
    /// Its folder in sysfs, such as `/sys/block/rbd0`.
    pub block: &'a Path,
    pub major: u32,
    pub minor: u32,
}

impl BlockDevice<'_> {
    /// Who has the device open: devices built on it, mounts, processes. What cannot be seen (other
    /// mount namespaces, the kernel itself) is left out, and so is what `end` leaves no time for.
    pub(crate) fn openers(&self, end: Deadline) -> Vec<String> {
        let mut found = holders(&self.block.join("holders")).unwrap_or_else(|error| {
            log::debug!("holders of {}: {error}", self.node.display());
            Vec::new()
        });
        let majmin = format!("{}:{}", self.major, self.minor);
        match Process::myself().and_then(|this| this.mountinfo()) {
            Ok(mounts) => found.extend(
                mounts
                    .into_iter()
                    .filter(|mount| mount.majmin == majmin)
                    .map(|mount| format!("the mount at {}", mount.mount_point.display())),
            ),
            Err(error) => log::debug!("mounts of {}: {error}", self.node.display()),
        }
        match all_processes() {
            Ok(processes) => found.extend(
                processes
                    .flatten()
                    .take_while(|_| !end.passed())
                    .filter(|process| self.is_open_in(process))
                    .map(|process| name_of(&process)),
            ),
            Err(error) => log::debug!("processes with {}: {error}", self.node.display()),
        }
        found.truncate(NAMED);
        found
    }

    /// Whether the process has the device open, through whichever node. One that ended meanwhile
    /// has not.
    fn is_open_in(&self, process: &Process) -> bool {
        let rdev = makedev(self.major.into(), self.minor.into());
        process.fd().is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| match file.target {
                    FDTarget::Path(path) if path == self.node => true,
                    // Elsewhere a look at a file may wait for a server that does not answer.
                    FDTarget::Path(path) if path.starts_with("/dev") => {
                        let open = format!("/proc/{}/fd/{}", process.pid(), file.fd);
                        fs::metadata(PathBuf::from(open)).is_ok_and(|node| {
                            node.file_type().is_block_device() && node.rdev() == rdev
                        })
                    }
                    _ => false,
                })
            })
        })
    }
}

fn holders(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?
        .map(|entry| Ok(format!("device {}", entry?.file_name().to_string_lossy())))
        .collect()
}

fn name_of(process: &Process) -> String {
    match process.stat() {
        Ok(stat) => format!("{} (pid {})", stat.comm, process.pid()),
        Err(_) => format!("pid {}", process.pid()),
    }
}
