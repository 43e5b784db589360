//! Writes the `log` crate's records to SM's log, `/var/log/SMlog`, in the format of SM's Python code.
//!
//! SM calls `openlog("SM", 0, LOG_LOCAL2)` and one `syslog("[pid] line")` per line. This module writes the
//! same line, `<priority>Mon dd hh:mm:ss SM: [pid] line`, to the socket `/dev/log`.
//!
//! Without that socket, or with a syslog daemon that does not read it, records are dropped on purpose: a
//! driver must not fail, wait or write to stdout (which is xapi's reply) because of its log. The next record
//! tries again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::Local;
use log::{LevelFilter, Log, Metadata, Record};
use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

/// How long one record waits for a syslog daemon whose queue is full.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);

/// Sends every record of this process to SMlog from now on. Opens nothing yet.
pub fn install() {
    // Fails only if a logger is installed: the module was imported again in this process.
    if log::set_boxed_logger(Box::new(SmLog::new("/dev/log"))).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// A line as SM writes it.
struct SmFormat;

impl LogFormat<&str> for SmFormat {
    fn format<W: Write>(
        &self,
        socket: &mut W,
        severity: Severity,
        line: &str,
    ) -> syslog::Result<()> {
        let priority = Facility::LOG_LOCAL2 as u8 | severity as u8;
        let time = Local::now().format("%b %e %T");
        // Read each time: xapi's helpers fork after the import.
        let pid = std::process::id();
        // One write is one datagram.
        write!(socket, "<{priority}>{time} SM: [{pid}] {line}").map_err(syslog::Error::Write)
    }
}

type Socket = Logger<LoggerBackend, SmFormat>;

struct SmLog {
    path: PathBuf,
    /// Connected by the first record.
    socket: Mutex<Option<Socket>>,
}

impl SmLog {
    fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            socket: Mutex::new(None),
        }
    }
}

impl Log for SmLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        // The socket is usable after a panic of another thread.
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            // Tries again with a new socket: the daemon may have been restarted.
            if !send(&mut socket, &self.path, record.level(), line) {
                send(&mut socket, &self.path, record.level(), line);
            }
        }
    }

    fn flush(&self) {}
}

/// Sends `line` to the syslog daemon. Returns whether it was sent; if not, closes the socket.
fn send(socket: &mut Option<Socket>, path: &Path, level: log::Level, line: &str) -> bool {
    if socket.is_none() {
        *socket = connect(path).ok();
    }
    let Some(logger) = socket else {
        return false;
    };
    let sent = match level {
        log::Level::Error => logger.err(line),
        log::Level::Warn => logger.warning(line),
        log::Level::Info => logger.info(line),
        log::Level::Debug | log::Level::Trace => logger.debug(line),
    };
    if sent.is_err() {
        *socket = None;
    }
    sent.is_ok()
}

fn connect(path: &Path) -> syslog::Result<Socket> {
    let logger = syslog::unix_custom(SmFormat, path)?;
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(WRITE_TIMEOUT))?,
        LoggerBackend::UnixStream(socket) => {
            socket.get_ref().set_write_timeout(Some(WRITE_TIMEOUT))?;
        }
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(..) => {}
    }
    Ok(logger)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use log::Level;
    use std::os::unix::net::UnixDatagram;
    use std::time::Instant;

    fn temporary_directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("smlog-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn record(log: &SmLog, level: Level, text: &str) {
        log::set_max_level(LevelFilter::Info);
        log.log(
            &Record::builder()
                .level(level)
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn received(daemon: &UnixDatagram) -> String {
        daemon
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut buffer = [0; 1024];
        let length = daemon.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_record_is_a_line_of_smlog() {
        let directory = temporary_directory("line");
        let path = directory.join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        record(&SmLog::new(&path), Level::Info, "SR.scan: 3 VDIs");
        let line = received(&daemon);
        // 150: facility local2 (18 * 8), severity info (6).
        assert!(line.starts_with("<150>"), "{line}");
        let time = line["<150>".len()..].get(..15).unwrap();
        assert!(
            chrono::NaiveDateTime::parse_from_str(&format!("2000 {time}"), "%Y %b %e %T").is_ok(),
            "{line}"
        );
        let end = format!(" SM: [{}] SR.scan: 3 VDIs", std::process::id());
        assert!(line.ends_with(&end), "{line}");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn each_line_of_a_record_is_a_message_of_its_own() {
        let directory = temporary_directory("lines");
        let path = directory.join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        record(&SmLog::new(&path), Level::Error, "first\nsecond");
        assert!(received(&daemon).ends_with("] first"));
        let second = received(&daemon);
        assert!(
            second.starts_with("<147>") && second.ends_with("] second"),
            "{second}"
        );
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn logging_goes_on_after_the_daemon_was_restarted() {
        let directory = temporary_directory("restart");
        let path = directory.join("log");
        let log = SmLog::new(&path);
        drop(UnixDatagram::bind(&path).unwrap());
        record(&log, Level::Info, "lost: nobody listens");
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        record(&log, Level::Info, "heard");
        assert!(received(&daemon).ends_with("] heard"));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_host_without_syslog_gets_no_log_and_no_error() {
        let directory = temporary_directory("none");
        record(&SmLog::new(directory.join("log")), Level::Error, "unheard");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_daemon_that_does_not_read_cannot_stop_the_driver() {
        let directory = temporary_directory("stuck");
        let path = directory.join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let log = SmLog::new(&path);
        let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
        let queue: usize = queue.trim().parse().unwrap();
        for _ in 0..=queue {
            record(&log, Level::Info, "fills the queue");
        }
        let start = Instant::now();
        record(&log, Level::Info, "dropped");
        assert!(start.elapsed() < Duration::from_secs(5));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
