//! Processes of this host, each with an unambiguous identity.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use procfs::process::{self, Stat};
use procfs::{ProcError, ProcResult};
use serde::{Deserialize, Serialize};

use crate::FileError;

/// A process of this host. Its identity includes the boot and the start time: the kernel reuses pids, and
/// start times count from the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The boot of the host during which it runs, as [`boot_id`].
    pub boot_id: String,
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start_time: u64,
}

impl Process {
    /// Returns the process with that pid; `None` if there is none.
    ///
    /// # Errors
    /// [`FileError`] if `/proc` cannot be read.
    pub fn of(pid: u32) -> Result<Option<Self>, FileError> {
        let Some(stat) = stat(pid)? else {
            return Ok(None);
        };
        Ok(Some(Process {
            boot_id: boot_id()?,
            pid,
            start_time: stat.starttime,
        }))
    }

    /// Returns this process.
    ///
    /// # Errors
    /// [`FileError`] if `/proc` cannot be read.
    pub fn this() -> Result<Self, FileError> {
        let pid = std::process::id();
        Self::of(pid)?.ok_or_else(|| proc_error(stat_path(pid), ProcError::NotFound(None)))
    }

    /// Returns whether it can still act. A zombie cannot.
    ///
    /// # Errors
    /// [`FileError`] if `/proc` cannot be read: the process may still run.
    pub fn is_alive(&self) -> Result<bool, FileError> {
        if self.boot_id != boot_id()? {
            return Ok(false);
        }
        Ok(stat(self.pid)?
            .is_some_and(|stat| stat.starttime == self.start_time && !has_exited(&stat)))
    }

    /// Sends it a signal. Succeeds if the process is gone.
    ///
    /// # Errors
    /// If the signal cannot be sent, or `/proc` cannot be read.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if !self.is_alive().map_err(|error| error.source)? {
            return Ok(());
        }
        match kill(Pid::from_raw(pid_for_kernel(self.pid)?), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Returns all processes that did not start before `parent`, and whose command line `wanted` accepts.
///
/// Does not read the command line of older processes: that can hang if a process hangs in the kernel.
///
/// # Errors
/// [`FileError`] if `/proc` cannot be read.
pub fn find(
    parent: &Process,
    wanted: impl Fn(&[String]) -> bool,
) -> Result<Vec<Process>, FileError> {
    let mut found = Vec::new();
    if parent.boot_id != boot_id()? {
        return Ok(found);
    }
    let failed = |error| proc_error("/proc".into(), error);
    for process in process::all_processes().map_err(failed)? {
        // The start time first. If the kernel reuses the pid in between, the start time is that of a
        // process that is gone, so that the result is not alive.
        let seen = process.and_then(|process| {
            let start_time = process.stat()?.starttime;
            if start_time < parent.start_time || !wanted(&process.cmdline()?) {
                return Ok(None);
            }
            Ok(Some(Process {
                boot_id: parent.boot_id.clone(),
                pid: process.pid().unsigned_abs(),
                start_time,
            }))
        });
        found.extend(unless_gone(seen).map_err(failed)?.flatten());
    }
    Ok(found)
}

/// Returns the id of this boot of the host. Each boot has a new one.
///
/// # Errors
/// [`FileError`] if `/proc` cannot be read.
pub fn boot_id() -> Result<String, FileError> {
    procfs::sys::kernel::random::boot_id()
        .map_err(|error| proc_error("/proc/sys/kernel/random/boot_id".into(), error))
}

fn stat(pid: u32) -> Result<Option<Stat>, FileError> {
    let failed = |error| proc_error(stat_path(pid), error);
    let number =
        pid_for_kernel(pid).map_err(|error| FileError::new("read", &stat_path(pid), error))?;
    unless_gone(process::Process::new(number).and_then(|process| process.stat())).map_err(failed)
}

/// Returns `None` for a process that does not exist, or that ends while its directory is read.
fn unless_gone<T>(found: ProcResult<T>) -> ProcResult<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ProcError::NotFound(_)) => Ok(None),
        Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The kernel's type for pids has negative numbers for groups of processes.
fn pid_for_kernel(pid: u32) -> io::Result<i32> {
    i32::try_from(pid).map_err(|_| {
        let text = format!("{pid} is no pid: the largest is {}", i32::MAX);
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// A process whose main thread is dead and whose other threads live is a zombie with more than one thread.
fn has_exited(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1
}

fn stat_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/stat"))
}

fn proc_error(path: PathBuf, error: ProcError) -> FileError {
    let source = match error {
        ProcError::Io(source, _) => source,
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        other => io::Error::other(other),
    };
    FileError {
        action: "read",
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_the_process_with_the_same_start_time_and_boot_is_alive() {
        let this = Process::this().unwrap();
        assert_eq!(this.pid, std::process::id());
        assert!(this.is_alive().unwrap());
        let mut later = this.clone();
        later.start_time += 1;
        assert!(!later.is_alive().unwrap());
        let mut earlier = this;
        earlier.boot_id = "another".to_owned();
        assert!(!earlier.is_alive().unwrap());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap().unwrap();
        assert!(process.is_alive().unwrap());
        process.signal(Signal::SIGKILL).unwrap();
        let zombie = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !process.is_alive().unwrap()
        });
        assert!(zombie, "a killed process still counts as alive");
        assert_eq!(Process::of(child.id()).unwrap().as_ref(), Some(&process));
        child.wait().unwrap();
        assert_eq!(Process::of(process.pid).unwrap(), None);
        assert!(!process.is_alive().unwrap());
        process.signal(Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_number_above_the_largest_pid_is_an_error() {
        let mut wrong = Process::this().unwrap();
        wrong.pid = u32::MAX;
        let error = wrong.is_alive().unwrap_err().to_string();
        assert!(error.contains("4294967295 is no pid"), "{error}");
        wrong.signal(Signal::SIGCONT).unwrap_err();
    }

    #[test]
    fn the_boot_id_stays_the_same_within_a_boot() {
        let id = boot_id().unwrap();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(id, boot_id().unwrap());
    }
}
