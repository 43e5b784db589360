//! Finds what has a block device open.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use hostos::Deadline;
use nix::sys::stat::makedev;
use procfs::process::{all_processes, FDTarget, Process};

/// The most openers that an error lists.
const NAMED: usize = 8;

/// A block device.
pub(crate) struct BlockDevice<'a> {
    /// Its node, such as `/dev/rbd0`.
    pub node: &'a Path,
    /// The mount point of sysfs, such as `/sys`.
    pub sysfs: &'a Path,
    /// Its name in sysfs, such as `rbd0`.
    pub name: &'a str,
    pub major: u32,
    pub minor: u32,
}

impl BlockDevice<'_> {
    /// Returns what has the device open: devices built on it, virtual machines, mounts, processes. Omits
    /// other mount namespaces and the kernel itself, which cannot be seen. Stops at `end`.
    pub(crate) fn openers(&self, end: Deadline) -> Vec<String> {
        let holders = self.sysfs.join("block").join(self.name).join("holders");
        let mut found = holding(&holders).unwrap_or_else(|error| {
            log::debug!("holders of {}: {error}", self.node.display());
            Vec::new()
        });
        match self.block_backends() {
            Ok(backends) => found.extend(backends),
            Err(error) => log::debug!("Xen's backends of {}: {error}", self.node.display()),
        }
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

    /// Returns Xen's block backends on it. They open it in the kernel, not in a process.
    fn block_backends(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.sysfs.join("bus/xen-backend/devices")) {
            Ok(entries) => entries,
            // No Xen, or no backends in this domain.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let this = format!("{:x}:{:x}", self.major, self.minor);
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            match fs::read_to_string(entry.path().join("physical_device")) {
                Ok(device) if device.trim() == this => {
                    let name = entry.file_name();
                    found.push(format!("Xen's block backend {}", name.to_string_lossy()));
                }
                Ok(_) => {}
                // No backend of a disk, or it is removed now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Returns whether the process has the device open, through any node. `false` if it has ended.
    fn is_open_in(&self, process: &Process) -> bool {
        let rdev = makedev(self.major.into(), self.minor.into());
        process.fd().is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| match file.target {
                    FDTarget::Path(path) if path == self.node => true,
                    // Only below /dev: a `stat` of a file on a network may hang.
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

fn holding(directory: &Path) -> io::Result<Vec<String>> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn openers_lists_holders_and_virtual_machines() {
        let sysfs = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = sysfs.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let openers = || {
            let device = BlockDevice {
                node: Path::new("/dev/nbd64"),
                sysfs: sysfs.path(),
                name: "nbd64",
                major: 43,
                minor: 2048,
            };
            device.openers(Deadline::after(Duration::from_secs(5)))
        };
        assert!(openers().is_empty());
        write("block/nbd64/holders/dm-3", "");
        write("block/nbd65/holders/dm-4", "");
        let backends = "bus/xen-backend/devices";
        write(
            &format!("{backends}/vbd-7-51712/physical_device"),
            "2b:800\n",
        );
        write(
            &format!("{backends}/vbd-8-51712/physical_device"),
            "2b:801\n",
        );
        write(&format!("{backends}/vif-7-0/state"), "4\n");
        let expected = ["device dm-3", "Xen's block backend vbd-7-51712"];
        assert_eq!(openers(), expected);
    }
}
