//! The supervisor: starts one server, logs its output, and records how it ended.
//!
//! Its steps: take the lock → refuse a used spec → write `state.json` → start the server → write
//! `state.json` with the server in it → wait for its end → write `exit.json`. It ends a fenced server. It
//! may be killed after each step: if `state.json` exists without `exit.json`, [`super::Server::status`]
//! looks at the processes.

use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hostos::{json_file, Deadline, Process};
use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::unistd::{setsid, Pid};
use secrecy::ExposeSecret;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::mask::Mask;
use super::{
    fence, runtime_directory, Ended, How, Spec, State, EXIT, LOCK, LOCK_DEADLINE, SPEC, STATE,
};
use crate::Error;

/// The time from SIGTERM to SIGKILL. A server has nothing to save.
const GRACE: Duration = Duration::from_secs(5);
/// The time between two checks of the server if no signal reports its end.
const WATCH: Duration = Duration::from_secs(1);
/// The time to read the rest of the output after the server's end.
const DRAIN: Duration = Duration::from_millis(500);
/// The number of lines that wait to be logged. A server that writes more blocks until they are logged.
const BACKLOG: usize = 256;
/// The number of lines in `exit.json`.
const LAST_LINES: usize = 8;
/// stdout and stderr.
const STREAMS: usize = 2;

pub(super) enum Event {
    Line(String),
    Signal(i32),
    /// Another server has the volume; the state of this one.
    Fenced(String),
    /// One of the two streams ended.
    Closed,
}

/// Runs the server of a runtime directory from its start to its end: the body of a supervisor process.
///
/// SIGTERM and SIGINT end the server while it runs, and the process after that. A fenced server is ended
/// too. `log` gets each line of the server's output without the key. It must return soon, because the server
/// may block until then.
///
/// # Errors
/// [`Error::NothingToServe`], [`Error::ServedAlready`] or [`Error::Locked`] if there is nothing to start;
/// the error of a start that failed, which `exit.json` has too.
pub fn serve(directory: &Path, log: &mut dyn FnMut(&str)) -> Result<Ended, Error> {
    // Signals to the session of the launching process must not reach this one. The leader of a process group
    // (such as a unit of systemd) already has its own session.
    match setsid() {
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => log(&format!("cannot make a session of its own: {errno}")),
    }
    let _lock = runtime_directory::lock(&directory.join(LOCK), Deadline::after(LOCK_DEADLINE))?;
    let spec: Spec =
        json_file::read(&directory.join(SPEC))?.ok_or_else(|| Error::NothingToServe {
            directory: directory.to_owned(),
        })?;
    if directory.join(STATE).exists() {
        return Err(Error::ServedAlready {
            volume: spec.volume,
            generation: spec.generation,
        });
    }
    let mut supervisor = Supervisor {
        directory,
        mask: Mask::of(spec.key.clone()),
        spec,
        log,
        last_lines: VecDeque::new(),
    };
    let over = Arc::new(AtomicBool::new(false));
    let result = supervisor.run(&over);
    let ended = match &result {
        Ok(ended) => ended.clone(),
        Err(error) => Ended::new(How::NotStarted(error.to_string()), false, supervisor.last()),
    };
    json_file::write(&directory.join(EXIT), &ended)?;
    over.store(true, Ordering::SeqCst);
    result
}

struct Supervisor<'a> {
    directory: &'a Path,
    mask: Mask,
    spec: Spec,
    log: &'a mut dyn FnMut(&str),
    last_lines: VecDeque<String>,
}

impl Supervisor<'_> {
    /// Runs the server to its end. When `over` is set, signals have their default effect again.
    fn run(&mut self, over: &Arc<AtomicBool>) -> Result<Ended, Error> {
        let (sender, events) = mpsc::sync_channel(BACKLOG);
        let failed = |source| Error::Start {
            volume: self.spec.volume,
            server: self.spec.server.clone(),
            source,
        };
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(over)).map_err(failed)?;
        }
        // Before `state.json` is written: a process that reads it may send SIGTERM at once.
        let mut signals = Signals::new([SIGCHLD, SIGINT, SIGTERM]).map_err(failed)?;
        let handle = signals.handle();
        let to_signal = sender.clone();
        let watcher = thread::spawn(move || {
            for signal in signals.forever() {
                if to_signal.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        });
        let to_fenced = sender.clone();
        let result = self.start(sender).map(|child| {
            let _until_its_end = fence::watch(self.spec.control, move |info| {
                // It fails only if the supervisor has ended.
                let _ = to_fenced.send(Event::Fenced(info));
            });
            self.watch(child, &events)
        });
        handle.close();
        // The watcher may block in `send` until the receiver is dropped.
        drop(events);
        if watcher.join().is_err() {
            (self.log)("the thread that waits for signals panicked");
        }
        result
    }

    fn start(&mut self, sender: SyncSender<Event>) -> Result<Child, Error> {
        let mut state = State {
            supervisor: Process::this()?,
            server: None,
            generation: self.spec.generation,
            nbd: self.spec.nbd,
            control: self.spec.control,
        };
        let path = self.directory.join(STATE);
        json_file::write(&path, &state)?;
        let mut command = Command::new(&self.spec.server);
        command.args(self.spec.arguments());
        if let Some(key) = &self.spec.key {
            // The program takes a key in no other way.
            command.args(["--key", key.expose_secret()]);
        }
        let mut child = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Only the supervisor gets the signals to its group, and forwards them.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start {
                volume: self.spec.volume,
                server: self.spec.server.clone(),
                source,
            })?;
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, self.mask.clone(), sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, self.mask.clone(), sender);
        }
        let noted = Process::of(child.id()).and_then(|server| {
            state.server = server;
            json_file::write(&path, &state)
        });
        if let Err(error) = noted {
            // An unrecorded server must not run.
            self.kill(&mut child);
            return Err(error.into());
        }
        (self.log)(&format!(
            "server of volume {} started: pid {}, generation {}, on {}",
            self.spec.volume,
            child.id(),
            self.spec.generation,
            self.spec.nbd
        ));
        Ok(child)
    }

    fn watch(&mut self, mut child: Child, events: &Receiver<Event>) -> Ended {
        let mut asked = false;
        let mut fenced = false;
        let mut kill_at: Option<Deadline> = None;
        let mut open = STREAMS;
        let how = loop {
            let wait = kill_at.map_or(WATCH, |at| WATCH.min(at.left()));
            match events.recv_timeout(wait) {
                Ok(Event::Line(line)) => self.take(line),
                Ok(Event::Closed) => open -= 1,
                Ok(Event::Signal(SIGTERM | SIGINT)) if !asked => {
                    asked = true;
                    kill_at = Some(Deadline::after(GRACE));
                    self.send(&child, Signal::SIGTERM);
                }
                Ok(Event::Fenced(info)) if !asked => {
                    (self.log)(&format!(
                        "another server with a higher generation has volume {}, and this one is \
                         {info}: ending it",
                        self.spec.volume
                    ));
                    fenced = true;
                    kill_at = Some(Deadline::after(GRACE));
                    self.send(&child, Signal::SIGTERM);
                }
                Ok(Event::Signal(_) | Event::Fenced(_)) | Err(_) => {}
            }
            match child.try_wait() {
                Ok(Some(_)) if fenced => break How::Fenced,
                Ok(Some(status)) => break How::from(status),
                Ok(None) if kill_at.is_some_and(Deadline::passed) => {
                    (self.log)("the server does not end after SIGTERM: killing it");
                    kill_at = None;
                    self.send(&child, Signal::SIGKILL);
                }
                Ok(None) => {}
                Err(error) => {
                    (self.log)(&format!(
                        "cannot wait for the server: {}",
                        hostos::errno::describe_io(&error)
                    ));
                    self.kill(&mut child);
                    break How::Unseen;
                }
            }
        };
        asked |= self.drain(events, open, how == How::Killed(SIGTERM) && !asked);
        (self.log)(&format!(
            "server of volume {} ended: {how}",
            self.spec.volume
        ));
        Ended::new(how, asked, self.last())
    }

    /// Reads the rest of the server's output. Returns whether the supervisor got a signal to end it: systemd
    /// signals both at once, and the server's end may be seen first.
    fn drain(&mut self, events: &Receiver<Event>, mut open: usize, may_be_asked: bool) -> bool {
        let deadline = Deadline::after(DRAIN);
        let mut asked = false;
        while open > 0 || (may_be_asked && !asked) {
            match events.recv_timeout(deadline.left()) {
                Ok(Event::Line(line)) => self.take(line),
                Ok(Event::Closed) => open -= 1,
                Ok(Event::Signal(signal)) => asked |= signal != SIGCHLD,
                Ok(Event::Fenced(_)) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        asked
    }

    fn take(&mut self, line: String) {
        if fence::is_about_poll(&line) {
            return;
        }
        (self.log)(&line);
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(line);
    }

    fn last(&self) -> Vec<String> {
        self.last_lines.iter().cloned().collect()
    }

    /// Sends a signal to a child that was not waited for, so that no other process has its pid.
    fn send(&mut self, child: &Child, signal: Signal) {
        if let Err(errno) = kill(pid(child), signal) {
            (self.log)(&format!("cannot send {signal} to the server: {errno}"));
        }
    }

    fn kill(&mut self, child: &mut Child) {
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            (self.log)(&format!(
                "cannot end the server, pid {}: {}",
                child.id(),
                hostos::errno::describe_io(&error)
            ));
        }
    }
}

fn pid(child: &Child) -> Pid {
    // Linux gives pids up to 2^22.
    Pid::from_raw(child.id().cast_signed())
}

/// Sends every line of a stream of the server until it is closed.
fn forward(stream: impl Read + Send + 'static, mask: Mask, events: SyncSender<Event>) {
    thread::spawn(move || {
        for line in mask.lines(stream) {
            if events.send(Event::Line(line)).is_err() {
                return;
            }
        }
        // It fails only if the supervisor has ended.
        let _ = events.send(Event::Closed);
    });
}
