//! A server on this machine, whose devices are files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nbd_export::{
    Aligned, Allocation, Device, Disk, Export, Opened, Opener, Part, Paths, Progress, Server,
    Settings, TlsFiles, Zero,
};
use nix::unistd::{lseek, Whence};
use serde_json::{json, Value};
use tempfile::TempDir;
use uuid::Uuid;

pub const MIB: usize = 1 << 20;
/// For a device that does not respond.
pub const TIMEOUT: Duration = Duration::from_millis(500);

pub struct Lab {
    pub directory: TempDir,
    pub address: SocketAddr,
    pub stuck: Arc<Stuck>,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(None)
    }

    pub fn with(tls: Option<TlsFiles>) -> Self {
        // Files of a disk: in memory there is no I/O past the page cache.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let stuck = Arc::default();
        let address = start(directory.path(), tls, &stuck);
        Self {
            directory,
            address,
            stuck,
        }
    }

    /// Adds an export of a new file.
    pub fn export(&self, name: &str, size: usize) -> Export {
        self.export_as(name, size, false, Value::Null)
    }

    pub fn export_as(&self, name: &str, size: usize, read_only: bool, storage: Value) -> Export {
        let vdi = Uuid::new_v4();
        let device = self.path(&format!("{vdi}.img"));
        File::create(&device).unwrap().set_len(size as u64).unwrap();
        let export = Export {
            vdi,
            name: name.to_owned(),
            device,
            read_only,
            storage,
        };
        self.write(&export);
        export
    }

    pub fn write(&self, export: &Export) {
        let path = self.path("exports").join(format!("{}.json", export.vdi));
        hostos::json_file::write(&path, export).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn uri(&self, name: &str) -> String {
        format!("nbd://{}/{name}", self.address)
    }

    /// Sends a command to the control socket.
    pub fn control(&self, command: &Value) -> Value {
        let mut socket = UnixStream::connect(self.path("control")).unwrap();
        socket.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
        serde_json::from_str(&reply).unwrap()
    }

    pub fn remove(&self, export: &Export, force: bool) -> Value {
        self.control(&json!({"do": "remove", "vdi": export.vdi, "force": force}))
    }

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client
    }
}

fn start(directory: &Path, tls: Option<TlsFiles>, stuck: &Arc<Stuck>) -> SocketAddr {
    // Below the ports that the kernel gives to clients.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let settings = Settings {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            tls: tls.clone(),
            timeout: TIMEOUT,
        };
        let opener = Arc::new(Files(stuck.clone()));
        match Server::start(&settings, &Paths::new(directory), opener) {
            Ok(server) => {
                thread::spawn(move || server.run());
                return settings.address;
            }
            Err(nbd_export::Error::Listen { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs a program. Returns what it prints; panics if it fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let done = output(program, arguments, false);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(done.stdout).unwrap()
}

/// Runs a program that fails. Returns its errors.
pub fn refused(program: &str, arguments: &[&str]) -> String {
    let done = output(program, arguments, true);
    assert!(
        !done.status.success(),
        "{program} {arguments:?} does not fail"
    );
    String::from_utf8(done.stderr).unwrap()
}

fn output(program: &str, arguments: &[&str], debug: bool) -> Output {
    let mut command = Command::new("timeout");
    // libnbd prints the reason of a server only with it.
    command.env("LIBNBD_DEBUG", u8::from(debug).to_string());
    // nbdsh is a module of the system's Python.
    command.env("PATH", "/usr/bin:/bin");
    command.arg("60").arg(program).args(arguments);
    command.output().unwrap()
}

/// Runs Python statements of nbdsh. `h` is a handle.
pub fn nbdsh(statements: &str) -> String {
    run("nbdsh", &["-c", statements])
}

impl Lab {
    /// Waits until no client has an export.
    pub fn wait_for_no_client(&self) {
        let clients = || self.control(&json!({"do": "status"}))["clients"].clone();
        wait_for("the exports are free", || clients() == json!([]));
    }
}

pub fn wait_for(what: &str, is_true: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_true() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn random(size: usize) -> Vec<u8> {
    let mut data = vec![0; size];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut data)
        .unwrap();
    data
}

/// Opens files. The storage of an export can have it stuck, also when it is opened, or fail to report its holes.
struct Files(Arc<Stuck>);

impl Opener for Files {
    fn open(&self, export: &Export) -> io::Result<Opened> {
        if export.storage == "opens slowly" {
            self.0.wait();
        }
        let device = Device::open(&export.device, export.read_only)?;
        let holes = Holes {
            file: File::open(&export.device)?,
            fails: export.storage == "no holes",
        };
        if export.storage == "stuck" {
            return Ok((Arc::new(Slow(device, self.0.clone())), None));
        }
        Ok((Arc::new(device), Some(Arc::new(holes))))
    }
}

/// The holes of a file.
struct Holes {
    file: File,
    fails: bool,
}

impl Allocation for Holes {
    fn parts(&self, offset: u64, length: u64) -> io::Result<Vec<Part>> {
        if self.fails {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let end = offset + length;
        let mut at = offset;
        let mut parts = Vec::new();
        while at < end {
            let seek = |whence| match lseek(&self.file, at as i64, whence) {
                Ok(found) => Ok((found as u64).min(end)),
                Err(nix::errno::Errno::ENXIO) => Ok(end),
                Err(error) => Err(io::Error::from(error)),
            };
            let data = seek(Whence::SeekData)?;
            let hole = data > at;
            let next = if hole { data } else { seek(Whence::SeekHole)? };
            parts.push(Part {
                length: next - at,
                hole,
            });
            at = next;
        }
        Ok(parts)
    }
}

/// Whether devices do not respond, and how many requests wait for them.
#[derive(Default)]
pub struct Stuck(Mutex<(bool, usize)>, Condvar);

impl Stuck {
    pub fn set(&self, stuck: bool) {
        self.0.lock().unwrap().0 = stuck;
        self.1.notify_all();
    }

    pub fn waiting(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn wait(&self) {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        let mut state = self.1.wait_while(state, |of| of.0).unwrap();
        state.1 -= 1;
    }
}

/// A device that does not respond while it is stuck.
struct Slow(Device, Arc<Stuck>);

impl Disk for Slow {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn block(&self) -> u32 {
        self.0.block()
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Aligned> {
        self.1.wait();
        self.0.read(offset, length)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.1.wait();
        self.0.write(offset, data)
    }

    fn flush(&self) -> io::Result<()> {
        self.1.wait();
        self.0.flush()
    }

    fn trim(&self, offset: u64, length: u64, progress: Progress<'_>) -> io::Result<()> {
        self.0.trim(offset, length, progress)
    }

    fn zero(&self, offset: u64, length: u64, how: Zero, progress: Progress<'_>) -> io::Result<()> {
        Disk::zero(&self.0, offset, length, how, progress)
    }
}

pub fn content(export: &Export) -> Vec<u8> {
    fs::read(&export.device).unwrap()
}
