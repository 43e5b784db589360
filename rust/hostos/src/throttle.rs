//! Limits of a block device, in the control group of the process that sends its requests.
//!
//! The kernel has them for each group and device: cgroup v1 in the controller `blkio`, cgroup v2 in `io`. They end
//! with the device. The requests of kernel threads, such as blkback's, belong to the root group.
//!
//! On cgroup v2 the root group has no limits. A process in it gets a group of its own, [`OWN_GROUP`].

mod error;
mod files;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use procfs::process::Process;

pub use self::error::ThrottleError;
use self::error::{no_controller, Result, DEADLINE};
use self::files::{entry, line, same, write};
use crate::{deadline, Deadline, FileError};

/// The group on cgroup v2 of processes that were in the root group.
const OWN_GROUP: &str = "smblock";

/// The most of a second, for reads, and as much for writes. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests.
    pub iops: Option<u64>,
    /// Bytes.
    pub bytes: Option<u64>,
}

impl Limits {
    fn none(self) -> bool {
        self == Limits::default()
    }
}

/// A block device, and the process that sends its requests: `None` for a thread of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    name: String,
    number: String,
    user: Option<u32>,
}

impl Device {
    /// The device of a node, such as `/dev/rbd0`.
    ///
    /// # Errors
    /// There is no such node.
    pub fn of(node: &Path, user: Option<u32>) -> std::result::Result<Self, FileError> {
        let found = fs::metadata(node).map_err(|e| FileError::new("look at", node, e))?;
        let rdev = found.rdev();
        Ok(Device {
            name: node.display().to_string(),
            number: format!("{}:{}", major(rdev), minor(rdev)),
            user,
        })
    }
}

/// The control groups of a host.
#[derive(Debug, Clone, Default)]
pub struct ControlGroups {
    /// Where the controller `blkio` of cgroup v1 is mounted.
    blkio: Option<PathBuf>,
    /// Where cgroup v2 is mounted.
    unified: Option<PathBuf>,
    proc: PathBuf,
}

/// The directory of a group.
enum Group {
    V1(PathBuf),
    V2 {
        root: PathBuf,
        group: PathBuf,
    },
    /// There are no control groups for block devices.
    Absent,
}

impl ControlGroups {
    /// Those of this host.
    ///
    /// # Errors
    /// [`FileError`] if the mounts cannot be read.
    pub fn of_host() -> std::result::Result<Self, FileError> {
        let mounts = Process::myself().and_then(|this| this.mountinfo());
        let mounts = mounts.map_err(|e| {
            FileError::new(
                "read",
                Path::new("/proc/self/mountinfo"),
                io::Error::other(e),
            )
        })?;
        let mut found = ControlGroups {
            proc: "/proc".into(),
            ..Self::default()
        };
        for mount in mounts {
            match mount.fs_type.as_str() {
                "cgroup" if mount.super_options.contains_key("blkio") => {
                    found.blkio.get_or_insert(mount.mount_point);
                }
                "cgroup2" => {
                    found.unified.get_or_insert(mount.mount_point);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Sets the limits of a device, and removes those that it has and `limits` has not. Returns what holds.
    ///
    /// # Errors
    /// [`ThrottleError`]. Without limits, only a limit that cannot be removed is an error.
    pub fn set(&self, device: &Device, limits: Limits) -> Result<Limits> {
        let (groups, owned) = (self.clone(), device.clone());
        bounded(device, move || {
            groups.write(&owned, limits)?;
            groups.read(&owned)
        })
    }

    /// Returns the limits that hold for a device. A limit that differs for reads and writes counts as none.
    ///
    /// # Errors
    /// [`ThrottleError`].
    pub fn get(&self, device: &Device) -> Result<Limits> {
        let (groups, owned) = (self.clone(), device.clone());
        bounded(device, move || groups.read(&owned))
    }

    fn write(&self, device: &Device, limits: Limits) -> Result<()> {
        match self.group(device)? {
            Group::Absent if limits.none() => Ok(()),
            Group::Absent => Err(no_controller(
                &device.name,
                Path::new("/sys/fs/cgroup"),
                "blkio or io",
            )),
            Group::V1(group) => write_v1(device, &group, limits),
            Group::V2 { root, group } => self.write_v2(device, &root, group, limits),
        }
    }

    fn read(&self, device: &Device) -> Result<Limits> {
        match self.group(device)? {
            Group::Absent => Ok(Limits::default()),
            Group::V1(group) => {
                let [iops, bytes] = V1.map(|files| {
                    let both = files.map(|file| entry(&group.join(file), &device.number));
                    same(both)
                });
                Ok(Limits {
                    iops: iops?,
                    bytes: bytes?,
                })
            }
            Group::V2 { group, .. } => {
                let words = line(&group.join(IO_MAX), &device.number)?.unwrap_or_default();
                let of = |key: &str| {
                    let mut words = words.split_whitespace();
                    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
                };
                let both =
                    |[read, write]: [&str; 2]| of(read).filter(|limit| of(write) == Some(*limit));
                Ok(Limits {
                    iops: both(["riops", "wiops"]),
                    bytes: both(["rbps", "wbps"]),
                })
            }
        }
    }

    fn write_v2(&self, device: &Device, root: &Path, group: PathBuf, limits: Limits) -> Result<()> {
        let mut group = group;
        if limits.none() && line(&group.join(IO_MAX), &device.number)?.is_none() {
            return Ok(());
        }
        if group == root {
            let Some(user) = device.user else {
                return Err(ThrottleError::RootGroup {
                    device: device.name.clone(),
                });
            };
            group = root.join(OWN_GROUP);
            fs::create_dir_all(&group).map_err(|e| FileError::new("create", &group, e))?;
            enable_io(root, &group);
            write(&group.join("cgroup.procs"), &user.to_string())?;
            log::info!(
                "moved process {user}, which serves {}, to the control group {OWN_GROUP}",
                device.name
            );
        } else if !group.join(IO_MAX).exists() {
            enable_io(root, &group);
        }
        let file = group.join(IO_MAX);
        if !file.exists() {
            return Err(no_controller(&device.name, &group, IO_MAX));
        }
        let value =
            |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
        let (iops, bytes) = (value(limits.iops), value(limits.bytes));
        let number = &device.number;
        write(
            &file,
            &format!("{number} rbps={bytes} wbps={bytes} riops={iops} wiops={iops}"),
        )
    }

    /// The group of the process that sends the requests.
    fn group(&self, device: &Device) -> Result<Group> {
        let Some(user) = device.user else {
            return Ok(match (&self.blkio, &self.unified) {
                (Some(mount), _) => Group::V1(mount.clone()),
                (None, Some(mount)) => Group::V2 {
                    root: mount.clone(),
                    group: mount.clone(),
                },
                (None, None) => Group::Absent,
            });
        };
        let file = self.proc.join(user.to_string()).join("cgroup");
        let text = fs::read_to_string(&file).map_err(|e| FileError::new("read", &file, e))?;
        let path = |of: &dyn Fn(&str, &str) -> bool| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':');
                let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
                of(number, controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let below = |mount: &Path, path: String| match path.is_empty() {
            true => mount.to_owned(),
            false => mount.join(path),
        };
        let v1 = path(&|_, controllers| controllers.split(',').any(|name| name == "blkio"));
        if let (Some(mount), Some(path)) = (&self.blkio, v1) {
            return Ok(Group::V1(below(mount, path)));
        }
        let v2 = path(&|number, controllers| number == "0" && controllers.is_empty());
        Ok(match (&self.unified, v2) {
            (Some(mount), Some(path)) => Group::V2 {
                root: mount.clone(),
                group: below(mount, path),
            },
            _ => Group::Absent,
        })
    }
}

/// The files of requests and of bytes, for reads and for writes.
const V1: [[&str; 2]; 2] = [
    [
        "blkio.throttle.read_iops_device",
        "blkio.throttle.write_iops_device",
    ],
    [
        "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device",
    ],
];
const IO_MAX: &str = "io.max";

fn write_v1(device: &Device, group: &Path, limits: Limits) -> Result<()> {
    for (files, limit) in V1.into_iter().zip([limits.iops, limits.bytes]) {
        for name in files {
            let file = group.join(name);
            let Some(limit) = limit else {
                // 0 removes the entry, which may be of an earlier device with the same number.
                if line(&file, &device.number)?.is_some() {
                    write(&file, &format!("{} 0", device.number))?;
                }
                continue;
            };
            if !file.exists() {
                return Err(no_controller(&device.name, group, name));
            }
            write(&file, &format!("{} {limit}", device.number))?;
        }
    }
    Ok(())
}

/// Enables the controller `io` in the groups above one. What fails is found when its file is missing.
fn enable_io(root: &Path, group: &Path) {
    let above: Vec<_> = group
        .ancestors()
        .skip(1)
        .take_while(|path| path.starts_with(root))
        .collect();
    for path in above.into_iter().rev() {
        if let Err(e) = write(&path.join("cgroup.subtree_control"), "+io") {
            log::info!("{e}");
        }
    }
}

fn bounded<T: Send + 'static>(
    device: &Device,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = deadline::by_deadline(Deadline::after(DEADLINE), work);
    let done = done.map_err(|e| FileError::new("look at", Path::new(&device.name), e))?;
    done.unwrap_or_else(|| {
        Err(ThrottleError::Silent {
            device: device.name.clone(),
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
