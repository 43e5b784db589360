//! Programs of this host, run to their end, with a deadline.

use std::io;
use std::path::Path;
use std::time::Duration;

use subprocess::unix::JobExt;
use subprocess::{Exec, ExecExt, Redirection};

use crate::Deadline;

/// Far above what any of these programs has to say; more of it is an error.
const OUTPUT_LIMIT: usize = 64 << 20;

/// What a program said and how it ended.
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
    /// What it reports although it did what was asked.
    pub fn remarks(&self) -> String {
        String::from_utf8_lossy(self.stderr.trim_ascii()).into_owned()
    }

    /// What it says about itself, for an error: the last lines of stderr, of stdout if that is
    /// empty, and how it ended.
    pub fn complaint(&self) -> String {
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

/// Runs a program with that input. At the deadline it is killed, with everything it started.
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
        // A group of its own, to be killed as a whole.
        .setpgid()
        // Dropping it must not wait: one that is stuck in the kernel survives SIGKILL.
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
            io::Error::other(format!("it said more than {} MiB", OUTPUT_LIMIT >> 20))
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
    // It is dead in a moment: no zombie is left.
    job.wait_timeout(Duration::from_secs(1))?;
    Err(match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no end after {} s; it was killed", limit.as_secs_f32()),
        ),
        _ => error,
    })
}
