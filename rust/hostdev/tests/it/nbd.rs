//! NBD exports on a real kernel, if `SMBLOCK_TEST_NBD` is set. The tests connect devices from `/dev/nbd64` on.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{symlink, FileExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::slice::from_ref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::nbd_server::{Server, SIZE};
use hostdev::{ConnectRequest, Error, Nbd, NbdDevice};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(2);
const VOLUME: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const ENABLED: &str = "SMBLOCK_TEST_NBD";
/// For the child process that a test kills: the server, and the directory of records.
const VICTIM: &str = "SMBLOCK_TEST_NBD_VICTIM";

/// One test at a time: the tests list all devices of the host.
static LOCK: Mutex<()> = Mutex::new(());

/// The kernel's NBD client, with a directory of records for one test.
struct Kernel {
    nbd: Nbd,
    run: TempDir,
    _lock: MutexGuard<'static, ()>,
}

impl Kernel {
    fn new() -> Option<Self> {
        if std::env::var_os(ENABLED).is_none() {
            eprintln!("skipped: {ENABLED} is not set");
            return None;
        }
        let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let run = tempfile::tempdir().unwrap();
        Some(Self {
            nbd: with_records(run.path()),
            run,
            _lock: lock,
        })
    }

    fn connect(&self, server: &Server) -> NbdDevice {
        self.nbd.connect(&request(server.address)).unwrap()
    }

    /// Asserts that no device is connected and no record exists.
    fn assert_empty(&self) {
        assert_eq!(self.nbd.devices().unwrap(), []);
        let records: Vec<_> = fs::read_dir(self.run.path()).unwrap().collect();
        assert!(records.is_empty(), "{records:?}");
    }
}

fn with_records(run: &Path) -> Nbd {
    Nbd::with_roots("/sys".into(), "/dev".into(), run.to_owned())
}

fn request(address: SocketAddr) -> ConnectRequest {
    ConnectRequest {
        address,
        export: String::new(),
        identifier: VOLUME.to_owned(),
        size: Some(SIZE as u64),
        read_only: false,
        deadline: DEADLINE,
    }
}

fn open(device: &NbdDevice) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(&device.device)
        .unwrap()
}

fn shown(device: &NbdDevice, attribute: &str) -> String {
    let path = format!("/sys/block/nbd{}/{attribute}", device.index);
    fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn a_flush_of_the_device_reaches_the_server() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let device = kernel.connect(&server);
    let expected = NbdDevice {
        device: format!("/dev/nbd{}", device.index).into(),
        index: device.index,
        identifier: VOLUME.to_owned(),
        size: SIZE as u64,
        read_only: false,
        connected: true,
        address: Some(server.address),
    };
    assert_eq!(device, expected);
    assert_eq!(shown(&device, "queue/logical_block_size"), "512");
    assert_eq!(shown(&device, "queue/write_cache"), "write back");

    let disk = open(&device);
    disk.write_all_at(b"kept", 4096).unwrap();
    disk.sync_all().unwrap();
    assert_eq!(server.data(4096, 4), b"kept");
    assert!(server.flushes() > 0, "the flush ended in the kernel");
    let mut kept = [0; 4];
    disk.read_exact_at(&mut kept, 4096).unwrap();
    assert_eq!(&kept, b"kept");
    drop(disk);

    let flushes = server.flushes();
    kernel.nbd.disconnect(&device, DEADLINE).unwrap();
    assert!(server.flushes() > flushes, "it was not flushed at the end");
    assert_eq!(server.disconnects(), 1);
    assert_eq!(shown(&device, "size"), "0");
    kernel.assert_empty();
    kernel.nbd.disconnect(&device, DEADLINE).unwrap();
}

#[test]
fn repeated_connects_of_a_volume_return_one_device() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let device = kernel.connect(&server);
    assert_eq!(kernel.connect(&server), device);
    assert_eq!(kernel.nbd.find(VOLUME).unwrap().as_ref(), Some(&device));
    assert_eq!(kernel.nbd.find("another").unwrap(), None);
    kernel.nbd.disconnect(&device, DEADLINE).unwrap();
    kernel.assert_empty();
}

#[test]
fn the_kernel_refuses_writes_to_a_read_only_device() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let mut read_only = request(server.address);
    read_only.read_only = true;
    let device = kernel.nbd.connect(&read_only).unwrap();
    assert!(device.read_only);
    assert_eq!(shown(&device, "ro"), "1");
    // Some kernels refuse the open for writing, others the write.
    let refused = OpenOptions::new()
        .write(true)
        .open(&device.device)
        .and_then(|disk| disk.write_all_at(b"no", 0))
        .unwrap_err();
    assert!(
        [1, 13, 30].contains(&refused.raw_os_error().unwrap()),
        "{refused}"
    );
    let writer = kernel.connect(&server);
    assert!(!writer.read_only);
    assert_eq!(kernel.nbd.devices().unwrap(), from_ref(&writer));
    open(&writer).write_all_at(b"yes", 0).unwrap();
    kernel.nbd.disconnect(&writer, DEADLINE).unwrap();
    kernel.assert_empty();
}

#[test]
fn a_device_without_its_server_fails_requests_at_once() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let device = kernel.connect(&server);
    let disk = open(&device);
    disk.write_all_at(b"lost", 0).unwrap();
    drop(server);
    while kernel.nbd.find(VOLUME).unwrap().unwrap().connected {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    let error = disk.read_exact_at(&mut [0; 4], 1 << 20).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    drop(disk);

    // A new server gets a new connection, and no requests of the dead one.
    let again = Server::new();
    let fresh = kernel.connect(&again);
    assert!(fresh.connected);
    assert_eq!(fresh.address, Some(again.address));
    drop(again);
    kernel.nbd.disconnect(&fresh, DEADLINE).unwrap();
    kernel.assert_empty();
}

#[test]
fn disconnect_fails_the_requests_to_a_dead_server() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let device = kernel.connect(&server);
    let disk = open(&device);
    server.hang();
    let before = server.requests();
    let reader = thread::spawn(move || disk.read_exact_at(&mut [0; 4], 1 << 20).map(|()| disk));
    while server.requests() == before {
        thread::sleep(Duration::from_millis(10));
    }
    drop(server);
    // The device is in use.
    match kernel.nbd.disconnect(&device, DEADLINE) {
        Ok(()) | Err(Error::Busy { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let error = reader.join().unwrap().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    kernel.nbd.disconnect(&device, DEADLINE).unwrap();
    kernel.assert_empty();
}

#[test]
fn disconnect_fails_at_the_deadline_until_a_hung_server_is_stopped() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let device = kernel.connect(&server);
    open(&device).write_all_at(b"late", 0).unwrap();
    server.hang();
    let started = Instant::now();
    let error = kernel.nbd.disconnect(&device, SOON).unwrap_err();
    eprintln!("{error}");
    assert_eq!(error.errno(), 110, "{error}");
    assert!(started.elapsed() < SOON * 2, "{:?}", started.elapsed());
    assert!(kernel.nbd.find(VOLUME).unwrap().is_some());
    drop(server);
    kernel.nbd.disconnect(&device, DEADLINE).unwrap();
    kernel.assert_empty();
}

#[test]
fn an_open_device_stays_and_the_error_names_the_opener() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let device = kernel.connect(&server);
    let disk = open(&device);
    let error = kernel.nbd.disconnect(&device, SOON).unwrap_err();
    eprintln!("{error}");
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    let me = format!("(pid {})", std::process::id());
    assert!(error.to_string().contains(&me), "{error}");
    disk.write_all_at(b"still", 0).unwrap();
    disk.sync_all().unwrap();
    drop(disk);
    kernel.nbd.disconnect(&device, DEADLINE).unwrap();
    kernel.assert_empty();
}

#[test]
fn an_export_of_the_wrong_size_is_not_connected() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let mut request = request(server.address);
    request.size = Some(SIZE as u64 * 2);
    let error = kernel.nbd.connect(&request).unwrap_err();
    assert!(matches!(error, Error::NbdExport { .. }), "{error}");
    kernel.assert_empty();
}

#[test]
fn twenty_connects_and_disconnects_use_one_index() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    for _ in 0..20 {
        let device = kernel.connect(&server);
        assert_eq!(device.index, 64, "an index was not given back");
        kernel.nbd.disconnect(&device, DEADLINE).unwrap();
        kernel.assert_empty();
    }
}

#[test]
fn connect_skips_an_open_device_that_is_not_connected() {
    let Some(kernel) = Kernel::new() else { return };
    let server = Server::new();
    let first = kernel.connect(&server);
    kernel.nbd.disconnect(&first, DEADLINE).unwrap();
    let kept_open = File::open(&first.device).unwrap();
    let second = kernel.connect(&server);
    assert_eq!((first.index, second.index), (64, 65));
    drop(kept_open);
    kernel.nbd.disconnect(&second, DEADLINE).unwrap();
    kernel.assert_empty();
}

#[test]
fn the_device_of_a_process_killed_during_connect_is_found() {
    killed_before_the_record(|_| "/sys".into());
}

#[test]
fn the_device_of_a_killed_process_is_found_without_backend() {
    killed_before_the_record(without_backend);
}

#[test]
fn a_record_of_an_earlier_connection_is_ignored() {
    let Some(kernel) = Kernel::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let run = kernel.run.path();
    let nbd = Nbd::with_roots(without_backend(directory.path()), "/dev".into(), run.into());
    let server = Server::new();
    let device = nbd.connect(&request(server.address)).unwrap();
    let record = run.join(format!("{VOLUME}.json"));
    let kept = fs::read(&record).unwrap();
    nbd.disconnect(&device, DEADLINE).unwrap();

    let mut other = request(server.address);
    other.identifier = "another".to_owned();
    let other = nbd.connect(&other).unwrap();
    fs::write(&record, kept).unwrap();
    assert_eq!(other.index, device.index);
    assert_eq!(nbd.find(VOLUME).unwrap(), None);
    assert_eq!(nbd.devices().unwrap(), from_ref(&other));
    nbd.disconnect(&device, DEADLINE).unwrap();
    assert_eq!(nbd.devices().unwrap(), from_ref(&other));
    nbd.disconnect(&other, DEADLINE).unwrap();
    kernel.assert_empty();
}

/// A sysfs whose NBD devices have no `backend`, as before Linux 5.14.
fn without_backend(directory: &Path) -> PathBuf {
    let sysfs = directory.join("sys");
    for index in 64..67 {
        let block = sysfs.join(format!("block/nbd{index}"));
        fs::create_dir_all(&block).unwrap();
        for attribute in ["pid", "size", "ro", "dev", "holders"] {
            let real = format!("/sys/block/nbd{index}/{attribute}");
            symlink(real, block.join(attribute)).unwrap();
        }
    }
    symlink("/sys/module", sysfs.join("module")).unwrap();
    sysfs
}

fn killed_before_the_record(sysfs: fn(&Path) -> PathBuf) {
    if let Ok(victim) = std::env::var(VICTIM) {
        let (address, run) = victim.split_once(' ').unwrap();
        let connected = with_records(Path::new(run)).connect(&request(address.parse().unwrap()));
        panic!("it should have been killed: {connected:?}");
    }
    let Some(kernel) = Kernel::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let nbd = Nbd::with_roots(
        sysfs(directory.path()),
        "/dev".into(),
        kernel.run.path().to_owned(),
    );
    let server = Server::new();
    // No process reads from it: the child blocks before it writes its second record.
    let fifo = kernel.run.path().join(format!(".{VOLUME}.made"));
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut victim = Victim::new(&server, kernel.run.path());
    while !Path::new("/sys/block/nbd64/pid").exists() {
        assert!(victim.0.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(10));
    }
    victim.0.kill().unwrap();
    victim.0.wait().unwrap();
    fs::remove_file(fifo).unwrap();

    let left = nbd.find(VOLUME).unwrap().unwrap();
    assert_eq!((left.index, left.connected), (64, true));
    assert_eq!(nbd.connect(&request(server.address)).unwrap(), left);
    nbd.disconnect(&left, DEADLINE).unwrap();
    kernel.assert_empty();
}

/// A child process that runs the same test.
struct Victim(Child);

impl Victim {
    fn new(server: &Server, run: &Path) -> Self {
        let name = thread::current().name().unwrap().to_owned();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &name])
            .env(VICTIM, format!("{} {}", server.address, run.display()))
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
