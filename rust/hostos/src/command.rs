//! Runs programs of this host to their end, with a deadline.

use std::io;
use std::path::Path;
use std::time::Duration;

use subprocess::unix::JobExt;
use subprocess::{Exec, ExecExt, Redirection};

use crate::Deadline;

/// Far above the output of any program that smblock runs. Longer output is an error.
const OUTPUT_LIMIT: usize = 64 << 20;

/// The output of a program, and how it ended.
pub struct Output {
    /// Whether it exited with status 0.
    pub success: bool,
    /// `exit status 1`, `signal 9`, ...
    pub status: String,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    /// Returns stderr: the warnings of a program that succeeded.
    pub fn warnings(&self) -> String {
        String::from_utf8_lossy(self.stderr.trim_ascii()).into_owned()
    }

    /// Returns the text for an error: how the program ended, and the last lines of stderr, or of stdout
    /// if stderr is empty.
    pub fn failure(&self) -> String {
        const LINES: usize = 10;
        let text = match self.stderr.trim_ascii() {
            [] => self.stdout.trim_ascii(),
            stderr => stderr,
        };
        let text = String::from_utf8_lossy(text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("; ");
        format!("{}: {last}", self.status)
    }
}

/// Runs a program with `input` as its stdin. At the deadline, kills it and everything it started.
///
/// # Errors
/// If it cannot be run, does not end in time (`TimedOut`) or writes too much.
pub fn run(
    program: &Path,
    arguments: &[&str],
    input: Vec<u8>,
    limit: Duration,
) -> io::Result<Output> {
    let deadline = Deadline::after(limit);
    let mut job = Exec::cmd(program)
        .args(arguments)
        .stdin(input)
        .stdout(Redirection::Pipe)
        .stderr(Redirection::Pipe)
        // The kill reaches the whole group.
        .setpgid()
        // The drop must not wait: a process that hangs in the kernel survives SIGKILL.
        .detached()
        .start()?;
    let ended = job
        .communicate()
        .and_then(|pipes| {
            pipes
                .limit_time(deadline.left())
                .limit_size(OUTPUT_LIMIT)
                .read()
        })
        .and_then(|output| Ok((output, job.wait_timeout(deadline.left())?)));
    let error = match ended {
        Ok(((stdout, stderr), _)) if stdout.len() + stderr.len() >= OUTPUT_LIMIT => {
            io::Error::other(format!(
                "its output is longer than {} MiB",
                OUTPUT_LIMIT >> 20
            ))
        }
        Ok(((stdout, stderr), Some(status))) => {
            return Ok(Output {
                success: status.success(),
                status: status.to_string(),
                stdout,
                stderr,
            })
        }
        Ok((_, None)) => io::ErrorKind::TimedOut.into(),
        Err(error) => error,
    };
    job.send_signal_group(nix::libc::SIGKILL)?;
    // It dies within a moment. The wait removes the zombie.
    job.wait_timeout(Duration::from_secs(1))?;
    Err(match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "it did not end within {} s, and was killed",
                limit.as_secs_f32()
            ),
        ),
        _ => error,
    })
}
