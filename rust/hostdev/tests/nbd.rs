//! Promises kept by a real kernel's NBD client.
//!
//! Runs as root on a kernel with `nbd`, where `SMBLOCK_TEST_NBD` is set: it connects devices from
//! `/dev/nbd64` on. Without, each test says so and is skipped.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod server;

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{symlink, FileExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::slice::from_ref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hostdev::{ConnectRequest, Error, Nbd, NbdDevice};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use server::{Server, SIZE};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(2);
const VOLUME: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const ENABLED: &str = "SMBLOCK_TEST_NBD";
/// For a test that runs itself once more, to be killed: the server, and the folder of records.
const VICTIM: &str = "SMBLOCK_TEST_NBD_VICTIM";

/// Tests take turns: they look at all devices of the host.
static TURN: Mutex<()> = Mutex::new(());

/// The kernel, with records of the test's own.
struct Lab {
    nbd: Nbd,
    run: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    fn new() -> Option<Self> {
        if std::env::var_os(ENABLED).is_none() {
            eprintln!("skipped: {ENABLED} is not set");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let run = tempfile::tempdir().unwrap();
        Some(Self {
            nbd: with_records(run.path()),
            run,
            _turn: turn,
        })
    }

    fn connect(&self, server: &Server) -> NbdDevice {
        self.nbd.connect(&request(server.address)).unwrap()
    }

    /// Nothing is connected, and nothing recorded.
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
fn an_export_is_a_disk_whose_flush_reaches_the_server() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let device = lab.connect(&server);
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
    assert_eq!(server.holds(4096, 4), b"kept");
    assert!(server.flushes() > 0, "the flush ended in the kernel");
    let mut kept = [0; 4];
    disk.read_exact_at(&mut kept, 4096).unwrap();
    assert_eq!(&kept, b"kept");
    drop(disk);

    let flushes = server.flushes();
    lab.nbd.disconnect(&device, DEADLINE).unwrap();
    assert!(server.flushes() > flushes, "it was not flushed at the end");
    assert_eq!(server.farewells(), 1);
    assert_eq!(shown(&device, "size"), "0");
    lab.assert_empty();
    lab.nbd.disconnect(&device, DEADLINE).unwrap();
}

#[test]
fn a_volume_has_one_device_however_often_it_is_connected() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let device = lab.connect(&server);
    assert_eq!(lab.connect(&server), device);
    assert_eq!(lab.nbd.find(VOLUME).unwrap().as_ref(), Some(&device));
    assert_eq!(lab.nbd.find("another").unwrap(), None);
    lab.nbd.disconnect(&device, DEADLINE).unwrap();
    lab.assert_empty();
}

#[test]
fn a_device_connected_for_reading_refuses_writes_in_the_kernel() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let mut read_only = request(server.address);
    read_only.read_only = true;
    let device = lab.nbd.connect(&read_only).unwrap();
    assert!(device.read_only);
    assert_eq!(shown(&device, "ro"), "1");
    // Some kernels refuse to open it for writing, others to write.
    let refused = OpenOptions::new()
        .write(true)
        .open(&device.device)
        .and_then(|disk| disk.write_all_at(b"no", 0))
        .unwrap_err();
    assert!(
        [1, 13, 30].contains(&refused.raw_os_error().unwrap()),
        "{refused}"
    );
    let writer = lab.connect(&server);
    assert!(!writer.read_only);
    assert_eq!(lab.nbd.devices().unwrap(), from_ref(&writer));
    open(&writer).write_all_at(b"yes", 0).unwrap();
    lab.nbd.disconnect(&writer, DEADLINE).unwrap();
    lab.assert_empty();
}

#[test]
fn when_the_server_is_gone_requests_fail_at_once_and_the_device_can_be_taken_away() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let device = lab.connect(&server);
    let disk = open(&device);
    disk.write_all_at(b"lost", 0).unwrap();
    drop(server);
    while lab.nbd.find(VOLUME).unwrap().unwrap().connected {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    let error = disk.read_exact_at(&mut [0; 4], 1 << 20).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    drop(disk);

    // A server that comes back is another one: it gets a device, never the dead one's requests.
    let again = Server::new();
    let fresh = lab.connect(&again);
    assert!(fresh.connected);
    assert_eq!(fresh.address, Some(again.address));
    drop(again);
    lab.nbd.disconnect(&fresh, DEADLINE).unwrap();
    lab.assert_empty();
}

#[test]
fn what_was_on_its_way_to_a_server_that_died_fails_when_the_device_is_disconnected() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let device = lab.connect(&server);
    let disk = open(&device);
    server.hang();
    let before = server.requests();
    let reader = thread::spawn(move || disk.read_exact_at(&mut [0; 4], 1 << 20).map(|()| disk));
    while server.requests() == before {
        thread::sleep(Duration::from_millis(10));
    }
    drop(server);
    // In use as it is.
    match lab.nbd.disconnect(&device, DEADLINE) {
        Ok(()) | Err(Error::Busy { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let error = reader.join().unwrap().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    lab.nbd.disconnect(&device, DEADLINE).unwrap();
    lab.assert_empty();
}

#[test]
fn a_server_that_does_not_answer_costs_the_deadline_until_it_is_stopped() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let device = lab.connect(&server);
    open(&device).write_all_at(b"late", 0).unwrap();
    server.hang();
    let started = Instant::now();
    let error = lab.nbd.disconnect(&device, SOON).unwrap_err();
    eprintln!("{error}");
    assert_eq!(error.errno(), 110, "{error}");
    assert!(started.elapsed() < SOON * 2, "{:?}", started.elapsed());
    assert!(lab.nbd.find(VOLUME).unwrap().is_some());
    drop(server);
    lab.nbd.disconnect(&device, DEADLINE).unwrap();
    lab.assert_empty();
}

#[test]
fn an_open_device_stays_and_the_error_names_who_has_it_open() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let device = lab.connect(&server);
    let disk = open(&device);
    let error = lab.nbd.disconnect(&device, SOON).unwrap_err();
    eprintln!("{error}");
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    let me = format!("(pid {})", std::process::id());
    assert!(error.to_string().contains(&me), "{error}");
    disk.write_all_at(b"still", 0).unwrap();
    disk.sync_all().unwrap();
    drop(disk);
    lab.nbd.disconnect(&device, DEADLINE).unwrap();
    lab.assert_empty();
}

#[test]
fn an_export_of_the_wrong_size_is_not_connected() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let mut request = request(server.address);
    request.size = Some(SIZE as u64 * 2);
    let error = lab.nbd.connect(&request).unwrap_err();
    assert!(matches!(error, Error::NbdExport { .. }), "{error}");
    lab.assert_empty();
}

#[test]
fn twenty_cycles_leave_nothing_behind() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    for _ in 0..20 {
        let device = lab.connect(&server);
        assert_eq!(device.index, 64, "an index was not given back");
        lab.nbd.disconnect(&device, DEADLINE).unwrap();
        lab.assert_empty();
    }
}

#[test]
fn a_device_that_somebody_keeps_open_though_it_is_not_connected_is_passed_over() {
    let Some(lab) = Lab::new() else { return };
    let server = Server::new();
    let first = lab.connect(&server);
    lab.nbd.disconnect(&first, DEADLINE).unwrap();
    let kept_open = File::open(&first.device).unwrap();
    let second = lab.connect(&server);
    assert_eq!((first.index, second.index), (64, 65));
    drop(kept_open);
    lab.nbd.disconnect(&second, DEADLINE).unwrap();
    lab.assert_empty();
}

#[test]
fn a_process_killed_while_connecting_leaves_a_device_that_is_found() {
    killed_before_the_record(|_| "/sys".into());
}

#[test]
fn it_is_found_also_where_the_kernel_keeps_no_identifier() {
    killed_before_the_record(without_backend);
}

#[test]
fn a_record_that_outlived_its_connection_leads_nowhere() {
    let Some(lab) = Lab::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = lab.run.path();
    let nbd = Nbd::with_roots(without_backend(folder.path()), "/dev".into(), run.into());
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
    lab.assert_empty();
}

/// Sysfs with NBD devices as Linux before 5.14 shows them: without `backend`.
fn without_backend(folder: &Path) -> PathBuf {
    let sysfs = folder.join("sys");
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
    let Some(lab) = Lab::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let nbd = Nbd::with_roots(
        sysfs(folder.path()),
        "/dev".into(),
        lab.run.path().to_owned(),
    );
    let server = Server::new();
    // Nobody reads from it: the process blocks when it is about to write its second record.
    let fifo = lab.run.path().join(format!(".{VOLUME}.made"));
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut victim = Victim::new(&server, lab.run.path());
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
    lab.assert_empty();
}

/// This very test in a process of its own.
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
