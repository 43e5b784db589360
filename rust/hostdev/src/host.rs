//! Processes of this host: whether the owner of something is gone for certain.
//!
//! A process is named by boot id, pid and start time together: pids are used again, and start
//! times count from the boot.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use procfs::process::{Process, Stat};
use procfs::ProcError;

use crate::Error;

/// The id of this boot of the host: a new one after every boot.
///
/// # Errors
/// [`Error::Io`] if the kernel does not tell.
pub fn boot_id() -> Result<String, Error> {
    procfs::sys::kernel::random::boot_id()
        .map_err(|error| proc_error("/proc/sys/kernel/random/boot_id".into(), error))
}

/// When the process started, in clock ticks since the boot; `None` if there is no such process.
///
/// # Errors
/// [`Error::Io`] if the kernel does not tell.
pub fn process_start_time(pid: u32) -> Result<Option<u64>, Error> {
    Ok(stat(pid)?.map(|stat| stat.starttime))
}

/// Whether the process that had this pid and start time (as [`process_start_time`] gave it) can
/// still act. One that has exited and waits for its parent to take note of it cannot.
///
/// # Errors
/// [`Error::Io`] if the kernel does not tell: the process is then not known to be gone.
pub fn process_alive(pid: u32, start_time: u64) -> Result<bool, Error> {
    Ok(stat(pid)?.is_some_and(|stat| {
        // A dead main thread with living siblings shows as a zombie too, with more than one thread.
        let exited = matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1;
        stat.starttime == start_time && !exited
    }))
}

fn stat(pid: u32) -> Result<Option<Stat>, Error> {
    let path = || PathBuf::from(format!("/proc/{pid}/stat"));
    let pid = i32::try_from(pid).map_err(|_| Error::Invalid {
        what: "process id",
        value: pid.to_string(),
        expected: format!("at most {}", i32::MAX),
    })?;
    match Process::new(pid).and_then(|process| process.stat()) {
        Ok(stat) => Ok(Some(stat)),
        Err(ProcError::NotFound(_)) => Ok(None),
        // It ended between opening its directory and reading in it.
        Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {
            Ok(None)
        }
        Err(error) => Err(proc_error(path(), error)),
    }
}

fn proc_error(path: PathBuf, error: ProcError) -> Error {
    let source = match error {
        ProcError::Io(source, _) => source,
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        other => io::Error::other(other),
    };
    Error::io("read", &path, source)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn this_process_is_alive_and_its_pid_with_another_start_time_is_not() {
        let pid = std::process::id();
        let start = process_start_time(pid).unwrap().unwrap();
        assert!(process_alive(pid, start).unwrap());
        assert!(!process_alive(pid, start + 1).unwrap());
    }

    #[test]
    fn a_process_that_exited_is_gone_even_before_its_parent_has_waited_for_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let start = process_start_time(child.id()).unwrap().unwrap();
        assert!(process_alive(child.id(), start).unwrap());
        child.kill().unwrap();
        let zombie = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !process_alive(child.id(), start).unwrap()
        });
        assert!(zombie, "a killed process still counts as alive");
        assert_eq!(process_start_time(child.id()).unwrap(), Some(start));
        child.wait().unwrap();
        assert_eq!(process_start_time(child.id()).unwrap(), None);
        assert!(!process_alive(child.id(), start).unwrap());
    }

    #[test]
    fn the_boot_id_stays_the_same_within_a_boot() {
        let id = boot_id().unwrap();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(id, boot_id().unwrap());
    }
}
