//! Processes of this host, named so that no other can be taken for one.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use procfs::process::{self, Stat};
use procfs::ProcError;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A process: pids are used again, and start times count from the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The boot of the host in which it runs.
    pub boot_id: String,
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since the boot.
    pub start_time: u64,
}

impl Process {
    /// The process with that pid; `None` if there is none.
    pub(crate) fn of(pid: i32) -> Result<Option<Self>, Error> {
        let Some(stat) = stat(pid)? else {
            return Ok(None);
        };
        Ok(Some(Process {
            boot_id: boot_id()?,
            pid,
            start_time: stat.starttime,
        }))
    }

    /// This process.
    pub(crate) fn this() -> Result<Self, Error> {
        let pid = nix::unistd::getpid().as_raw();
        Self::of(pid)?.ok_or_else(|| proc_error(pid, ProcError::NotFound(None)))
    }

    /// Whether it can still act. One that has exited and waits for its parent to take note of it
    /// cannot.
    ///
    /// # Errors
    /// [`Error::File`] if the kernel does not tell: it is then not known to be gone.
    pub fn alive(&self) -> Result<bool, Error> {
        if self.boot_id != boot_id()? {
            return Ok(false);
        }
        Ok(stat(self.pid)?.is_some_and(|stat| stat.starttime == self.start_time && !exited(&stat)))
    }

    /// Sends it a signal, if it is still there.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        if !self.alive()? {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::Signal {
                pid: self.pid,
                signal: signal.as_str(),
                source: errno.into(),
            }),
        }
    }
}

/// All processes that started after `parent`, or with it, and whose command line `wanted` accepts.
///
/// Others are not looked at: reading the command line of a process that hangs in the kernel may
/// hang, too.
pub(crate) fn find(
    parent: &Process,
    wanted: impl Fn(&[String]) -> bool,
) -> Result<Vec<Process>, Error> {
    let mut found = Vec::new();
    if parent.boot_id != boot_id()? {
        return Ok(found);
    }
    for process in process::all_processes().map_err(|error| proc_error(0, error))? {
        // The start time first: if the pid is used again in between, the two do not fit together,
        // and no such process is ever alive.
        let seen = process.and_then(|process| {
            let start_time = process.stat()?.starttime;
            if start_time < parent.start_time || !wanted(&process.cmdline()?) {
                return Ok(None);
            }
            Ok(Some(Process {
                boot_id: parent.boot_id.clone(),
                pid: process.pid(),
                start_time,
            }))
        });
        match seen {
            Ok(process) => found.extend(process),
            // It ended meanwhile.
            Err(ProcError::NotFound(_)) => {}
            Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
            Err(error) => return Err(proc_error(0, error)),
        }
    }
    Ok(found)
}

pub(crate) fn boot_id() -> Result<String, Error> {
    procfs::sys::kernel::random::boot_id().map_err(|error| proc_error(0, error))
}

fn stat(pid: i32) -> Result<Option<Stat>, Error> {
    match process::Process::new(pid).and_then(|process| process.stat()) {
        Ok(stat) => Ok(Some(stat)),
        Err(ProcError::NotFound(_)) => Ok(None),
        // It ended between opening its directory and reading in it.
        Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {
            Ok(None)
        }
        Err(error) => Err(proc_error(pid, error)),
    }
}

/// A dead main thread with living siblings shows as a zombie too, with more than one thread.
fn exited(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1
}

/// `pid` 0 stands for /proc itself.
fn proc_error(pid: i32, error: ProcError) -> Error {
    let path = match pid {
        0 => PathBuf::from("/proc"),
        pid => PathBuf::from(format!("/proc/{pid}/stat")),
    };
    let source = match error {
        ProcError::Io(source, _) => source,
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        other => io::Error::other(other),
    };
    Error::file("read", &path, source)
}
